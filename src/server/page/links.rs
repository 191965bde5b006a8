//! Where the business objects of runs are found: templates in the configuration.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::model::Subject;
use crate::server::page::words::encoded;

/// What stands in a template for the id of the object.
const ID: &str = "{id}";

/// For kinds of business objects, where one of them is found.
///
/// ```
/// # use runledger::Subject;
/// # use runledger::server::Links;
/// let links = Links::default().with("booking", "https://shop.example/bookings/{id}").unwrap();
/// let booking = Subject::new("booking", "B/1041").unwrap();
/// assert_eq!(links.of(&booking).unwrap(), "https://shop.example/bookings/B%2F1041");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>")]
pub struct Links(BTreeMap<String, String>);

impl Links {
    /// With the place of this kind of object: a URL of `https` or `http` with `{id}` behind the
    /// name of the host.
    ///
    /// # Errors
    /// What is wrong with the template, and what is expected.
    pub fn with(mut self, kind: &str, template: &str) -> Result<Self, String> {
        let refused = || {
            format!(
                "the link of {kind} is {template:?}; expected one as \
                 https://shop.example/bookings/{{id}}"
            )
        };
        let rest = template.strip_prefix("https://").or_else(|| template.strip_prefix("http://"));
        // An id must not choose the host.
        let (host, path) = rest.and_then(|rest| rest.split_once('/')).ok_or_else(refused)?;
        let is_plain = template.bytes().all(|byte| byte.is_ascii_graphic());
        if host.is_empty() || host.contains('{') || !path.contains(ID) || !is_plain {
            return Err(refused());
        }
        self.0.insert(kind.to_owned(), template.to_owned());
        Ok(self)
    }

    /// Where this object is found; `None` for a kind without a template.
    #[must_use]
    pub fn of(&self, subject: &Subject<'_>) -> Option<String> {
        let template = self.0.get(subject.kind())?;
        Some(template.replace(ID, &encoded(&subject.id().to_string())))
    }
}

impl TryFrom<BTreeMap<String, String>> for Links {
    type Error = String;

    fn try_from(templates: BTreeMap<String, String>) -> Result<Self, String> {
        let mut templates = templates.into_iter();
        templates.try_fold(Self::default(), |links, (kind, link)| links.with(&kind, &link))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_chooses_neither_host_nor_scheme() {
        for template in [
            "javascript:alert({id})",
            "//evil/{id}",
            "https://{id}/a",
            "https://{id}.example/a",
            "https:///{id}",
            "https://shop.example/",
            "https://shop.example/{ID}",
            "https://shop.example/{id} onclick",
            "data:text/html,{id}",
        ] {
            assert!(Links::default().with("booking", template).is_err(), "{template}");
        }
        let links = Links::default().with("b", "http://localhost:8080/x?id={id}#a").unwrap();
        let subject = Subject::new("b", "../\"><script>&a=b c").unwrap();
        let expected = "http://localhost:8080/x?id=..%2F%22%3E%3Cscript%3E%26a%3Db%20c#a";
        assert_eq!(links.of(&subject).unwrap(), expected);
        assert_eq!(links.of(&Subject::new("c", "1").unwrap()), None);
    }
}
