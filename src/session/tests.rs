//! What a manager does where its random generator does not work.

use super::id::RandomSource;
use super::{SessionError, SessionManager};
use crate::time::ManualClock;
use std::error::Error;

fn with_source(random: RandomSource, max: usize) -> SessionManager<&'static str> {
    let builder = SessionManager::builder().clock(ManualClock::new()).max_sessions(max);
    SessionManager { random, ..builder.build().unwrap() }
}

fn silent(_: &mut [u8]) -> Result<(), getrandom::Error> {
    Err(getrandom::Error::UNSUPPORTED)
}

fn stuck(buffer: &mut [u8]) -> Result<(), getrandom::Error> {
    buffer.fill(7);
    Ok(())
}

#[test]
fn without_randomness_nothing_is_created_and_nothing_changes() {
    let working = with_source(getrandom::fill, 1);
    let failing = SessionManager { random: silent, ..working.clone() };

    let error = failing.create("data").unwrap_err();
    assert!(matches!(error, SessionError::NoRandomness(_)));
    let source = error.source().expect("what the system said").to_string();
    assert!(source.contains("random generator") && !error.to_string().contains(&source), "{error}: {source}");
    assert_eq!(failing.len(), 0);
    failing.validate(); // the permit was given back

    let id = working.create("data").unwrap();
    assert!(matches!(failing.rotate(&id), Err(SessionError::NoRandomness(_))));
    assert_eq!(failing.get(&id).unwrap(), "data");
    failing.validate();
}

#[test]
fn a_generator_that_repeats_itself_mixes_up_no_two_sessions() {
    let sessions = with_source(stuck, 3);
    let id = sessions.create("mine").unwrap();
    let error = sessions.create("yours").unwrap_err();
    assert!(matches!(error, SessionError::NoRandomness(_)));
    assert!(error.source().expect("what was wrong").to_string().contains("repeated itself"));
    assert!(matches!(sessions.rotate(&id), Err(SessionError::NoRandomness(_))));
    assert_eq!(sessions.get(&id).unwrap(), "mine");
    assert_eq!(sessions.len(), 1);
    sessions.validate();
}
