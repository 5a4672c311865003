//! Archives made here: what is read, and what is refused.
