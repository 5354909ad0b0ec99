//! Fetching: origins, the cache, and what may go wrong on the way.
