//! actix-session's own acceptance suite, on our store: workflows, expiry refreshed, guards, with signed and with private cookies.

// Where the suite looks for them.
use actix_session::{Session, SessionExt, SessionMiddleware, config, storage};
use tidewheel_actix_session::TidewheelStore;

include!(concat!(env!("OUT_DIR"), "/acceptance.rs"));

#[actix_web::test]
async fn the_acceptance_suite_passes() {
    let store = TidewheelStore::new();
    test_helpers::acceptance_test_suite(move || store.clone(), true).await;
}

#[actix_web::test]
async fn and_with_a_limit() {
    let store = TidewheelStore::builder().max_sessions(100).build().unwrap();
    test_helpers::acceptance_test_suite(move || store.clone(), true).await;
}
