//! What every peer shares.
