//! tower-sessions' store on moka, which is for core 0.14, as one for 0.15: records are taken apart and put together again. A save costs one clone
//! more than it would.

use async_trait::async_trait;
use tower_sessions::SessionStore;
use tower_sessions::session::{Id, Record};
use tower_sessions::session_store::{Error, Result};
use tower_sessions_core_0_14::SessionStore as _;
use tower_sessions_core_0_14::session as older;
use tower_sessions_moka_store::MokaStore;

#[derive(Clone, Debug)]
pub(crate) struct Moka(MokaStore);

impl Moka {
    pub(crate) fn new() -> Self {
        Self(MokaStore::new(None))
    }
}

fn older(record: &Record) -> older::Record {
    let Record { id, data, expiry_date } = record.clone();
    older::Record { id: older::Id(id.0), data, expiry_date }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Backend(error.to_string())
}

#[async_trait]
impl SessionStore for Moka {
    async fn create(&self, record: &mut Record) -> Result<()> {
        let mut taken = older(record);
        self.0.create(&mut taken).await.map_err(failed)?;
        record.id = Id(taken.id.0);
        Ok(())
    }

    async fn save(&self, record: &Record) -> Result<()> {
        self.0.save(&older(record)).await.map_err(failed)
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        let found = self.0.load(&older::Id(id.0)).await.map_err(failed)?;
        Ok(found.map(|older::Record { id, data, expiry_date }| Record { id: Id(id.0), data, expiry_date }))
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        self.0.delete(&older::Id(id.0)).await.map_err(failed)
    }
}
