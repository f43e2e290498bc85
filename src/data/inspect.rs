//! Figures about a tokenizer on a text: bytes per token, what of its vocabulary is used.
//! Deliberately not here: any drawing of them.
