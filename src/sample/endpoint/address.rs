//! Names of models behind servers: `openai:URL#MODEL`, with `,key=VARIABLE` where the key is not in `OPENAI_API_KEY`.
//! Deliberately not here: speaking to the server.

use reqwest::Url;

use crate::net;
use crate::text::visible;

/// What such a name begins with.
pub const PREFIX: &str = "openai:";
const KEY: &str = "OPENAI_API_KEY";

/// Where a server is, and which of its models is meant.
#[derive(Clone, Debug, PartialEq)]
pub struct Address {
    /// As it was given.
    pub name: String,
    /// `https://host/v1`, without a slash at its end.
    pub base: Url,
    /// Empty where the server's one model is meant.
    pub model: String,
    /// The variable that holds the key, where one is named.
    variable: Option<String>,
}

impl Address {
    /// Reads a name. The error is one line that says what one looks like.
    pub fn parse(name: &str) -> Result<Self, String> {
        let shown: String = visible(name, false).chars().take(200).collect();
        let wrong = |what: &str| format!("{shown}: {what}; write openai:http://127.0.0.1:8000/v1#MODEL");
        let rest = name.strip_prefix(PREFIX).ok_or_else(|| wrong("names no server"))?;
        let (url, model) = rest.split_once('#').unwrap_or((rest, ""));
        let (model, variable) = match model.rsplit_once(",key=") {
            Some((model, variable)) => (model, Some(variable.to_string())),
            None => (model, None),
        };
        if let Some(variable) = &variable
            && (variable.is_empty() || !variable.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
        {
            return Err(wrong("the name of an environment variable follows ,key="));
        }
        let mut base = Url::parse(url).map_err(|_| wrong("no address of a server"))?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(wrong("no address of a server"));
        }
        if !base.username().is_empty() || base.password().is_some() || base.query().is_some() {
            // Names stand in logs and files, where a key has no place.
            return Err("openai:…: a name or a key does not belong into the address; put the key into OPENAI_API_KEY".into());
        }
        let path = base.path().trim_end_matches('/').to_string();
        base.set_path(if path.is_empty() { "/v1" } else { &path });
        Ok(Self { name: name.into(), base, model: model.into(), variable })
    }

    /// The address of one of its functions.
    pub fn at(&self, function: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{function}", self.base.path()));
        url
    }

    /// For messages.
    pub fn shown(&self) -> String {
        self.base.to_string()
    }

    pub fn key_name(&self) -> &str {
        self.variable.as_deref().unwrap_or(KEY)
    }

    /// What more there is to say to somebody who has no key in `OPENAI_API_KEY`, or whose key was not sent.
    pub fn key_hint(&self) -> &'static str {
        match (&self.variable, self.trusts()) {
            (None, false) => ", and name the variable as in #MODEL,key=OPENAI_API_KEY: without that it is not sent unencrypted",
            _ => "",
        }
    }

    /// Whether a key that was not meant for this server may go there: it reads nobody else on the way.
    fn trusts(&self) -> bool {
        self.base.scheme() == "https" || net::is_loopback(&self.base)
    }

    /// The key, where there is one: of the variable that is named, or `OPENAI_API_KEY` where nobody can listen.
    pub fn key(&self, var: impl Fn(&str) -> Option<String>) -> Result<Option<String>, String> {
        let value = |name: &str| var(name).map(|v| v.trim().to_string()).filter(|v| !v.is_empty());
        match &self.variable {
            Some(name) => match value(name) {
                Some(key) if key.is_ascii() => Ok(Some(key)),
                _ => Err(format!("{}: the variable {name} holds no key; export it first", self.shown())),
            },
            None => Ok(value(KEY).filter(|key| self.trusts() && key.is_ascii())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_servers_are_read() {
        let read = |name: &str| Address::parse(name).map(|a| (a.base.to_string(), a.model.clone(), a.key_name().to_string()));
        let fine = |base: &str, model: &str, key: &str| Ok((base.to_string(), model.to_string(), key.to_string()));
        assert_eq!(read("openai:http://127.0.0.1:8000#qwen"), fine("http://127.0.0.1:8000/v1", "qwen", KEY));
        assert_eq!(read("openai:https://host/api/v3/#org/a:b,c,key=MY_KEY"), fine("https://host/api/v3", "org/a:b,c", "MY_KEY"));
        assert_eq!(read("openai:http://h:1/v1"), fine("http://h:1/v1", "", KEY));
        for name in [
            "openai:",
            "openai:ftp://x#m",
            "openai:host:80#m",
            "http://x",
            "openai:http://u:p@x#m",
            "openai:http://x?key=1#m",
            "openai:http://x#m,key=a b",
        ] {
            let error = Address::parse(name).unwrap_err();
            assert!(!error.contains('\n') && !error.contains("u:p"), "{error}");
        }
        assert_eq!(Address::parse("openai:http://h/v1#m").unwrap().at("chat/completions").as_str(), "http://h/v1/chat/completions");
    }

    #[test]
    fn a_key_goes_only_where_it_was_meant_to() {
        let var = |name: &str| matches!(name, "OPENAI_API_KEY" | "OTHER").then(|| format!("key of {name}"));
        let key = |name: &str| Address::parse(name).unwrap().key(var);
        assert_eq!(key("openai:https://h#m"), Ok(Some("key of OPENAI_API_KEY".into())));
        assert_eq!(key("openai:http://localhost:1#m"), Ok(Some("key of OPENAI_API_KEY".into())));
        assert_eq!(key("openai:http://h#m"), Ok(None));
        assert_eq!(key("openai:http://h#m,key=OTHER"), Ok(Some("key of OTHER".into())));
        assert!(key("openai:http://h#m,key=NONE").unwrap_err().contains("NONE holds no key"));
    }
}
