//! A digest over a multiset of rows.
