//! What can go wrong, and how it is made right again.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

use crate::shop::Shop;

/// How long a fault lasts, where it has a length of its own.
const LASTS: Duration = Duration::from_millis(2500);

/// How long a follower stands still or is cut off.
const FOLLOWER_LASTS: Duration = Duration::from_millis(1500);

/// How long a frontend stands still.
const FRONTEND_LASTS: Duration = Duration::from_millis(300);

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    Nothing,
    CatalogLeaderKilled,
    OrderLeaderKilled,
    CatalogLeaderStopped,
    OrderLeaderStopped,
    CatalogFollowerKilled,
    OrderFollowerKilled,
    CatalogFollowerStopped,
    OrderFollowerStopped,
    CatalogFollowerFrozen,
    OrderFollowerFrozen,
    CatalogFollowerCutOff,
    OrderFollowerCutOff,
    CatalogLeaderFrozen,
    OrderLeaderFrozen,
    CatalogLeaderCutOff,
    OrderLeaderCutOff,
    CatalogLeaderCutOffFromPeers,
    OrderLeaderCutOffFromPeers,
    CatalogLeaderHeardByNobody,
    OrderLeaderHeardByNobody,
    CatalogLeaderReachedByNobody,
    OrderLeaderReachedByNobody,
    OrdersCutOffFromCatalogLeader,
    OrderLeaderCutOffFromCatalog,
    FrontendFrozen,
    FrontendKilled,
    RollingRestart,
    AllKilled,
}

impl Fault {
    /// The group that must keep its leader's term; none where an election is what the fault is about.
    pub fn keeps_term_of(self) -> Option<&'static str> {
        use Fault::*;
        match self {
            CatalogFollowerKilled | CatalogFollowerStopped | CatalogFollowerFrozen | CatalogFollowerCutOff => {
                Some("catalog")
            }
            OrderFollowerKilled | OrderFollowerStopped | OrderFollowerFrozen | OrderFollowerCutOff => Some("order"),
            _ => None,
        }
    }

    /// How long customers are watched from the beginning of the fault.
    pub fn watched_for(self) -> Duration {
        match self {
            Fault::RollingRestart => Duration::from_secs(14),
            _ => Duration::from_millis(5500),
        }
    }

    /// Strikes, lasts, and is made right again.
    pub fn strike(self, shop: &mut Shop) -> Result<()> {
        use Fault::*;
        let restart = |shop: &mut Shop, id: &str| {
            sleep(FOLLOWER_LASTS);
            shop.start(id)
        };
        match self {
            Nothing => {}
            CatalogLeaderKilled | OrderLeaderKilled => {
                let id = shop.leader(self.role())?;
                shop.kill(&id)?;
                restart(shop, &id)?;
            }
            CatalogLeaderStopped | OrderLeaderStopped => {
                let id = shop.leader(self.role())?;
                shop.stop(&id)?;
                restart(shop, &id)?;
            }
            CatalogFollowerKilled | OrderFollowerKilled => {
                let id = shop.follower(self.role())?;
                shop.kill(&id)?;
                restart(shop, &id)?;
            }
            CatalogFollowerStopped | OrderFollowerStopped => {
                let id = shop.follower(self.role())?;
                shop.stop(&id)?;
                restart(shop, &id)?;
            }
            CatalogFollowerFrozen | OrderFollowerFrozen => {
                let id = shop.follower(self.role())?;
                freeze(shop, &id, FOLLOWER_LASTS)?;
            }
            CatalogLeaderFrozen | OrderLeaderFrozen => {
                let id = shop.leader(self.role())?;
                freeze(shop, &id, LASTS)?;
            }
            CatalogFollowerCutOff | OrderFollowerCutOff => {
                let id = [shop.follower(self.role())?];
                part(shop, &id, &shop.ids(), FOLLOWER_LASTS);
            }
            CatalogLeaderCutOff | OrderLeaderCutOff => {
                let id = [shop.leader(self.role())?];
                part(shop, &id, &shop.ids(), LASTS);
            }
            CatalogLeaderCutOffFromPeers | OrderLeaderCutOffFromPeers => {
                let id = [shop.leader(self.role())?];
                part(shop, &id, &shop.group(self.role()), LASTS);
            }
            CatalogLeaderHeardByNobody | OrderLeaderHeardByNobody => {
                let id = [shop.leader(self.role())?];
                shop.lines.hold(&id, &shop.ids());
                sleep(LASTS);
                shop.lines.open();
            }
            CatalogLeaderReachedByNobody | OrderLeaderReachedByNobody => {
                let id = [shop.leader(self.role())?];
                shop.lines.hold(&shop.ids(), &id);
                sleep(LASTS);
                shop.lines.open();
            }
            OrdersCutOffFromCatalogLeader => {
                let leader = [shop.leader("catalog")?];
                shop.lines.hold(&shop.group("order"), &leader);
                sleep(LASTS);
                shop.lines.open();
            }
            OrderLeaderCutOffFromCatalog => {
                let leader = [shop.leader("order")?];
                part(shop, &leader, &shop.group("catalog"), LASTS);
            }
            FrontendFrozen => freeze(shop, "frontend-2", FRONTEND_LASTS)?,
            FrontendKilled => {
                shop.kill("frontend-2")?;
                restart(shop, "frontend-2")?;
            }
            RollingRestart => {
                let replicas = [shop.group("catalog"), shop.group("order"), vec!["frontend-2".to_owned()]].concat();
                for id in replicas {
                    shop.stop(&id)?;
                    shop.start(&id)?;
                    shop.wait_whole()?;
                }
            }
            AllKilled => {
                let replicas = [shop.group("catalog"), shop.group("order")].concat();
                replicas.iter().try_for_each(|id| shop.kill(id))?;
                replicas.iter().try_for_each(|id| shop.start(id))?;
            }
        }
        Ok(())
    }

    fn role(self) -> &'static str {
        let name = format!("{self:?}");
        if name.starts_with("Catalog") { "catalog" } else { "order" }
    }
}

fn freeze(shop: &mut Shop, id: &str, lasts: Duration) -> Result<()> {
    shop.freeze(id, true)?;
    sleep(lasts);
    shop.freeze(id, false)
}

fn part(shop: &Shop, these: &[String], those: &[String], lasts: Duration) {
    shop.lines.hold(these, those);
    shop.lines.hold(those, these);
    sleep(lasts);
    shop.lines.open();
}
