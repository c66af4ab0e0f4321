//! Mistakes in a configuration: what, where, and how to mend it.

use crate::node::Place;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where it is; `None` for a file that cannot be read at all.
    pub place: Option<Place>,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// How to mend it.
    pub help: Option<String>,
    /// Another place that has to do with it, and what it is.
    pub related: Option<(Place, String)>,
}

/// All mistakes found so far.
#[derive(Debug, Default)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostic {
    /// A mistake at a place.
    pub fn at(place: &Place, message: impl Into<String>) -> Diagnostic {
        Diagnostic { place: Some(place.clone()), ..Diagnostic::nowhere(message) }
    }

    /// A mistake that has no place.
    pub fn nowhere(message: impl Into<String>) -> Diagnostic {
        let mut message = message.into();
        // A message quotes what was written, and is one line all the same.
        if message.contains(char::is_control) {
            let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
            message = message.chars().map(escaped).collect();
        }
        Diagnostic { place: None, message, help: None, related: None }
    }

    /// Says how to mend it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help = Some(help.into());
        self
    }

    /// Points at another place too.
    #[must_use]
    pub fn related(mut self, place: &Place, what: impl Into<String>) -> Diagnostic {
        self.related = Some((place.clone(), what.into()));
        self
    }

    /// `file:line:column: message`, on one line.
    pub fn line(&self) -> String {
        match &self.place {
            Some(place) => format!("{place}: {}", self.message),
            None => self.message.clone(),
        }
    }

    /// With an excerpt of the source, for people.
    pub fn text(&self) -> String {
        let mut group = Group::with_title(Level::ERROR.primary_title(&self.message));
        if let Some(place) = &self.place {
            group = group.element(excerpt(place, AnnotationKind::Primary, ""));
        }
        if let Some((place, what)) = &self.related {
            group = group.element(excerpt(place, AnnotationKind::Context, what));
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help));
        }
        Renderer::plain().render(&[group])
    }

    /// As a JSON object with `message`, `file`, `line`, `column` and `help`.
    pub fn json(&self) -> serde_json::Value {
        let (line, column) = self.place.as_ref().map(Place::line_column).unzip();
        serde_json::json!({
            "message": self.message,
            "file": self.place.as_ref().map(|p| &p.source.name),
            "line": line,
            "column": column,
            "help": self.help,
        })
    }
}

fn excerpt<'a>(
    place: &'a Place,
    kind: AnnotationKind,
    label: &'a str,
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let text = &place.source.text;
    let mut end = place.span.end.min(text.len());
    // A map's or a list's excerpt is its first line.
    if let Some(newline) = text.get(place.span.start..end).and_then(|t| t.find('\n')) {
        end = place.span.start + newline;
    }
    let annotation = kind.span(place.span.start.min(end)..end);
    let annotation = if label.is_empty() { annotation } else { annotation.label(label) };
    Snippet::source(text).path(&place.source.name).annotation(annotation)
}

impl Diagnostics {
    /// Notes a mistake.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are so far.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them in the order of their places; of several at one place the first, whose consequence the
    /// others may be.
    pub fn into_sorted(mut self) -> Vec<Diagnostic> {
        self.0.sort_by_key(|d| d.place.as_ref().map(|p| (p.source.name.clone(), p.span.start)));
        self.0.dedup_by(|next, first| if next.place.is_some() { next.place == first.place } else { next == first });
        self.0
    }
}

/// The known word that was probably meant, if one is near.
pub fn nearest<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let (distance, best) = known.into_iter().map(|k| (distance(word, k), k)).min_by_key(|(d, _)| *d)?;
    (distance <= (word.chars().count().max(best.len()) / 3).max(1)).then_some(best)
}

/// Edits from one word to another, a swap of neighbours counting as one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + same);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_whatever_it_quotes() {
        assert_eq!(Diagnostic::nowhere("`a\nb` is no URL").line(), "`a\\nb` is no URL");
    }

    #[test]
    fn suggests_near_words_only() {
        assert_eq!(nearest("retires", ["retry", "retries", "routes"]), Some("retries"));
        assert_eq!(nearest("lsiteners", ["listeners", "limits"]), Some("listeners"));
        assert_eq!(nearest("xyz", ["listeners", "limits"]), None);
    }
}
