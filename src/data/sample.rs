//! stub: the built-in sample
