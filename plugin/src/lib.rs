//! libsplitproc.so: the upper half's plugin.
