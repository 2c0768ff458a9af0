//! Drawing: the puppet pass, composition, and their CPU twins.
