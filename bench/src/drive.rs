//! The subjects of a measurement, and the clients that drive them with queries.

pub(crate) mod arrivals;
pub(crate) mod clients;
pub(crate) mod copy_loop;
pub(crate) mod in_shard;
pub(crate) mod latency;
pub(crate) mod live;
pub(crate) mod load;
pub(crate) mod map_loop;
pub(crate) mod open_loop;
pub(crate) mod patience;
pub(crate) mod planned;
pub(crate) mod ring_loop;
pub(crate) mod run;
pub(crate) mod search_subject;
pub(crate) mod store_subject;
pub(crate) mod subject;
pub(crate) mod threads;
pub(crate) mod yardstick;
