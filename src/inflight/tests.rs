//! Flights by themselves: what calls find, however many flights were left behind.

use super::*;
use crate::sync::thread;

const LOAD: Wants = Wants::value(None, false);

/// A caller, and what it does.
struct Caller {
    wants: Wants,
    role: Role,
}

enum Role {
    Leads(Hold<u8, ()>),
    Waits(Spot, Arc<Call<u8, ()>>),
}

/// The flights of four keys, of which two each have the same hash, and all callers.
struct Play {
    flights: Flights<u8, ()>,
    callers: Vec<Caller>,
    random: u64,
}

fn hash_of(key: u8) -> HashBits {
    HashBits::again(u64::from(key / 2))
}

impl Play {
    fn new(seed: u64) -> Self {
        Self { flights: Flights::new(), callers: Vec::new(), random: seed }
    }

    fn random(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 32) as usize % below
    }

    fn known(&mut self, key: u8) -> Known {
        self.flights.of_key(hash_of(key), &key)
    }

    /// Begins a call. Returns its ticket, or that of the flight that it waits for.
    fn begin(&mut self, key: u8, wants: Wants) -> Ticket {
        let known = self.known(key);
        let asked = Asked::Shared(Call::new(key));
        let (ticket, role) = match self.flights.begin(hash_of(key), known, asked, wants, true) {
            Begun::Leads(hold) => (hold.ticket, Role::Leads(hold)),
            Begun::Waits(spot, call) => (Some(spot.ticket), Role::Waits(spot, call)),
            Begun::Nested(_) => unreachable!("no closure runs"),
        };
        self.callers.push(Caller { wants, role });
        ticket.expect("it leads or waits")
    }

    fn begin_reload(&mut self, key: u8) {
        let known = self.known(key);
        if !known.is_taken() {
            let asked = Asked::Shared(Call::new(key));
            let hold = self.flights.lead(hash_of(key), known, asked, Aim::Reload, false);
            self.callers.push(Caller { wants: LOAD, role: Role::Leads(hold) });
        }
    }

    fn invalidate(&mut self, key: u8) {
        self.flights.invalidate(hash_of(key), &|other| *other == key);
    }

    /// Ends a turn, or looks what a waiting call was told.
    fn step(&mut self, place: usize, kind: Kind) {
        let Caller { wants, role } = self.callers.swap_remove(place);
        match role {
            Role::Leads(mut hold) => {
                let ending = self.flights.end(&mut hold, kind).expect("it leads a flight");
                ending.tell(&mut Spoken::Alone(Outcome::Value(())), true);
            }
            Role::Waits(spot, call) => match call.poll(Who::Thread(thread::current())) {
                None => self.callers.push(Caller { wants, role: Role::Waits(spot, call) }),
                Some(Told::Turn(ticket)) => self.take_turn(wants, ticket, call),
                Some(Told::Offer) => {
                    let role = match self.flights.claim(spot) {
                        None => Role::Waits(spot, call),
                        Some(ticket) => {
                            assert!(call.leave().is_none());
                            Role::Leads(Hold::after(ticket, call))
                        }
                    };
                    self.callers.push(Caller { wants, role });
                }
                Some(Told::Outcome { .. }) => {}
                Some(Told::Passed) => unreachable!("no call stands aside"),
            },
        }
    }

    fn take_turn(&mut self, wants: Wants, ticket: Ticket, call: Arc<Call<u8, ()>>) {
        let mut hold = Hold::after(ticket, call.clone());
        let spot = if wants.loads() { self.flights.go_on(&mut hold, wants, true) } else { None };
        let role = match spot {
            None => Role::Leads(hold),
            Some(spot) => Role::Waits(spot, call),
        };
        self.callers.push(Caller { wants, role });
    }

    /// Makes a caller give up.
    fn leave(&mut self, place: usize) {
        if let Role::Leads(_) = self.callers[place].role {
            return self.step(place, Kind::Own);
        }
        let Role::Waits(spot, call) = self.callers.swap_remove(place).role else { return };
        match call.leave() {
            Some(Told::Turn(ticket)) => {
                let ending = self.flights.end(&mut Hold::after(ticket, call), Kind::Own);
                ending.expect("it leads a flight").pass_on();
            }
            Some(Told::Offer) | None => {
                self.flights.forget(spot).expect("a call that waits is in a queue").pass_on();
            }
            Some(Told::Outcome { .. } | Told::Passed) => {}
        }
    }

    /// Compares what calls find with what a look at all flights finds.
    fn check(&mut self) {
        self.flights.check();
        for key in 0..4 {
            let known = self.known(key);
            let of_key = || self.flights.all().filter(|(_, flight)| *flight.leader.key() == key);
            let present = of_key().find(|(_, flight)| flight.is_present());
            assert_eq!(known.present, present.map(|(ticket, _)| *ticket));
            assert_eq!(known.line, of_key().next().map(|(_, flight)| flight.line));
        }
    }

    /// Ends all calls. Panics if one waits for nobody.
    fn finish(&mut self) {
        let most = 10 * self.callers.len() + 10;
        for _ in 0..most {
            for place in (0..self.callers.len()).rev() {
                self.step(place, Kind::Own);
                self.check();
            }
        }
        assert!(self.callers.is_empty(), "a call that nobody tells anything");
        assert!(self.flights.is_quiet() && self.flights.behind.is_none());
    }
}

#[test]
fn whatever_comes_between_a_key_has_one_present_flight_and_no_call_is_lost() {
    for seed in 1..=if cfg!(miri) { 2 } else { 100u64 } {
        let mut play = Play::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        for _ in 0..120 {
            let (key, any) = (play.random(4) as u8, play.random(play.callers.len().max(1)));
            match play.random(20) {
                0..=4 => _ = play.begin(key, LOAD),
                5..=6 => _ = play.begin(key, Wants::Turn),
                7 => play.begin_reload(key),
                8..=11 => play.invalidate(key),
                12 if seed % 4 == 0 => play.flights.disown(),
                13 => play.flights.invalidate_all_of(|_| true),
                _ if play.callers.is_empty() => {}
                14..=15 => play.leave(any),
                16 => play.step(any, Kind::Value),
                _ => play.step(any, Kind::Own),
            }
            play.check();
        }
        play.finish();
    }
}

/// The older flight is present again, not the newest one (F6).
#[test]
fn the_turn_of_an_old_flight_is_taken_while_newer_ones_stay_behind() {
    let mut play = Play::new(1);
    let old = play.begin(0, LOAD);
    assert_eq!(play.begin(0, LOAD), old);
    play.invalidate(0);
    assert_ne!(play.begin(0, LOAD), old);
    play.invalidate(0);
    assert!(!play.known(0).is_taken());
    play.step(0, Kind::Own);
    assert_eq!(play.known(0).present, Some(old));
    assert_eq!(play.begin(0, LOAD), old);
    play.check();
    play.finish();
}

/// Each time that a call has moved on, the flight that it waits for is left behind, too.
#[test]
fn a_call_that_moved_on_again_and_again_is_found_when_it_leaves() {
    for moves in 0..5 {
        let mut play = Play::new(1);
        play.begin(0, LOAD);
        play.begin(0, LOAD);
        let waits = play.callers.pop().expect("it was just begun");
        for _ in 0..moves {
            play.invalidate(0);
            play.begin(0, LOAD);
            play.step(0, Kind::Own);
            play.check();
        }
        play.invalidate(0);
        play.begin(0, LOAD);
        play.callers.push(waits);
        assert_eq!(play.flights.waiting(), 1);
        play.leave(play.callers.len() - 1);
        assert_eq!(play.flights.waiting(), 0);
        play.finish();
    }
}

/// In the child of a fork, the flight that was offered to a call is left behind. If the call leaves, or claims the turn, the
/// others wait for the flight that is present by then.
#[test]
fn a_free_flight_of_the_parent_is_not_taken_beside_a_present_one() {
    for claims in [false, true] {
        let mut play = Play::new(1);
        let old = play.begin(0, Wants::Turn);
        play.begin(0, Wants::Turn);
        play.begin(0, Wants::Turn);
        let last = play.callers.pop().expect("it was just begun");
        play.step(0, Kind::Own);
        play.flights.disown();
        let new = play.begin(0, Wants::Turn);
        assert_ne!(new, old);
        if claims {
            play.step(0, Kind::Own);
        } else {
            play.leave(0);
        }
        play.check();
        assert_eq!(play.known(0).present, Some(new));
        assert_eq!(play.flights.waiting(), 1 + usize::from(claims));
        play.callers.push(last);
        play.finish();
    }
}
