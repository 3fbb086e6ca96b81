//! formats: stub.
