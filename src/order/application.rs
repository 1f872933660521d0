//! The orders' state as `replica` keeps it: commands in, the table `orders.csv` out.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use imbl::Vector;
use parking_lot::{RwLock, RwLockReadGuard};

use super::state::{Command, Reply, State};
use crate::codec::encode;
use crate::csv::{Column, RowWriter, Table, orders};
use crate::model::Order;
use crate::replica::{Application, ApplicationError, BatchTime, SnapshotReader, SnapshotView, Swap};

/// The orders of one replica.
#[derive(Default)]
pub struct OrderApplication {
    state: Arc<RwLock<Versioned>>,
}

/// A state and how often it was replaced as a whole.
#[derive(Default)]
struct Versioned {
    state: State,
    generation: u64,
}

impl OrderApplication {
    /// Runs `look` on the state. Writers wait meanwhile.
    pub fn with<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock().state)
    }

    fn lock(&self) -> RwLockReadGuard<'_, Versioned> {
        self.state.read()
    }
}

impl Application for OrderApplication {
    fn check(&self, command: &Bytes) -> Result<(), ApplicationError> {
        understood(command).map(drop)
    }

    fn apply(&self, _time: BatchTime, commands: &[Bytes]) -> Result<Vec<Bytes>, ApplicationError> {
        let commands: Vec<Command> = commands.iter().map(understood).collect::<Result<_, _>>()?;
        let mut versioned = self.state.write();
        let mut replies = Vec::with_capacity(commands.len());
        for Command(orders) in commands {
            let recorded: Vec<Reply> = orders.into_iter().map(|order| versioned.state.apply(order)).collect();
            replies.push(encode(&recorded));
        }
        Ok(replies)
    }

    fn unfinished(&self) -> Option<&'static str> {
        None
    }

    fn cut(&self) -> SnapshotView {
        let versioned = self.lock();
        let table = OrderTable { orders: versioned.state.orders(), generation: versioned.generation };
        SnapshotView { scalars: serde_json::Value::Null, tables: vec![Box::new(table)] }
    }

    fn restore(&self, saved: SnapshotReader) -> Result<Swap, ApplicationError> {
        let mut state = State::default();
        for (name, text) in saved.tables {
            if name != "orders" {
                return Err(ApplicationError(format!("there is no table {name}")));
            }
            let mut misplaced = None;
            let read = orders::read(text, |order| {
                let (position, found) = (state.last_order_id() + 1, order.order_id.get());
                if state.apply(order) != Reply::Recorded || state.last_order_id() != found {
                    misplaced.get_or_insert((found, position));
                }
            });
            read.map_err(|error| ApplicationError(format!("table {name}, {error}")))?;
            if let Some((found, position)) = misplaced {
                return Err(ApplicationError(format!("order {found} stands where order {position} should")));
            }
        }
        let present = self.state.clone();
        Ok(Box::new(move || {
            let mut present = present.write();
            let generation = present.generation + 1;
            Box::new(std::mem::replace(&mut *present, Versioned { state, generation }))
        }))
    }
}

fn understood(command: &Bytes) -> Result<Command, ApplicationError> {
    let unknown = |error| ApplicationError(format!("not a command of the orders: {error}"));
    Command::decode(command).map_err(unknown)
}

struct OrderTable {
    orders: Vector<Order>,
    generation: u64,
}

impl Table for OrderTable {
    fn name(&self) -> &'static str {
        "orders"
    }

    fn columns(&self) -> &'static [Column] {
        orders::COLUMNS
    }

    fn generation(&self) -> u64 {
        self.generation
    }

    fn rows(&self) -> u64 {
        self.orders.len() as u64
    }

    fn write(&self, rows: Range<u64>, out: &mut RowWriter<'_>) -> io::Result<()> {
        let rows = self.orders.focus().narrow(rows.start as usize..rows.end as usize);
        rows.into_iter().try_for_each(|order| orders::write_order(out, order))
    }
}
