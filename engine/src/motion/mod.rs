//! The pose transformer and its tokenizer.
