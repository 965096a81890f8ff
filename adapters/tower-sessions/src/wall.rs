//! What the calendar says about a record's end. Knows neither stores nor sessions.
//!
//! A cache ages by a clock that never jumps, and that stands still while the machine is suspended (on Windows it goes on). A record says a date. So
//! the date becomes a length of time when a record is stored, and is looked at once more when it is read.

use std::time::Duration;
use time::OffsetDateTime;

/// Whether the date has come.
pub(crate) fn is_over(expiry_date: OffsetDateTime) -> bool {
    expiry_date <= OffsetDateTime::now_utc()
}

/// How long it is until then: nothing, if it has come.
pub(crate) fn remaining(expiry_date: OffsetDateTime) -> Duration {
    (expiry_date - OffsetDateTime::now_utc()).try_into().unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_past_has_nothing_left_and_the_last_of_all_dates_has_much() {
        let now = OffsetDateTime::now_utc();
        assert_eq!(remaining(now - Duration::from_secs(1)), Duration::ZERO);
        assert!(is_over(now));
        let later = now + Duration::from_secs(60);
        assert!(!is_over(later));
        assert!(remaining(later) > Duration::from_secs(50));
        assert!(remaining(later) <= Duration::from_secs(60));
        let last = time::Date::MAX.midnight().assume_utc();
        assert!(remaining(last) > Duration::from_secs(1_000_000_000));
        let first = time::Date::MIN.midnight().assume_utc();
        assert_eq!(remaining(first), Duration::ZERO);
    }
}
