//! Actions, bindings and the key table.

/// A named thing that a key can do: `train.pause`. Rebindable by name in the config file.
pub type Action = &'static str;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Binding {
    pub action: Action,
    /// Default keys as crokey writes them: `"p"`, `"ctrl-d"`, `"g t"` for a sequence. Several separated by `|`.
    pub keys: &'static str,
    /// One or two words for the footer.
    pub label: &'static str,
    /// A sentence for the help overlay and the palette.
    pub help: &'static str,
    /// Whether the footer shows it (when there is room).
    pub footer: bool,
}
