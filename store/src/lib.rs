//! A content-addressed store of root file systems and of what built them.
