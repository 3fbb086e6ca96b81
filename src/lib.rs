//! dcpipe: stub.
