//! Ringtake beside software that needs tokio. The tests show its futures under tokio.
