//! Where things stand in a RON text: a tree of the fields and list items with their byte ranges.
//!
//! `ron` alone says what is valid; this only finds places, so it is lenient and never fails. It is
//! meant for text that `ron` has accepted as well-formed, except [`unbalanced`].

use std::ops::Range;

/// A field, a list item or a positional argument.
#[derive(Debug, Default, PartialEq)]
pub struct Entry {
    /// The field's name; empty for items and arguments.
    pub key: String,
    pub key_span: Range<usize>,
    pub value_span: Range<usize>,
    /// Whether the text is still well-formed without it: true for fields and list items.
    pub removable: bool,
    /// The comma that follows.
    pub comma: Option<usize>,
    /// What stands inside the value's brackets.
    pub children: Vec<Entry>,
}

impl Entry {
    /// The outermost value of the text.
    pub fn root(source: &str) -> Entry {
        let mut tokens = Tokens { source, at: 0 };
        let entries = entries(&mut tokens, false);
        // Attributes such as `#![enable(…)]` are part of the first and only entry.
        entries.into_iter().next().unwrap_or_default()
    }

    /// Key and value.
    pub fn span(&self) -> Range<usize> {
        let start = if self.key.is_empty() { self.value_span.start } else { self.key_span.start };
        start..self.value_span.end
    }

    /// The field of that name directly inside.
    pub fn field(&self, key: &str) -> Option<&Entry> {
        self.children.iter().find(|child| child.key == key)
    }

    /// The field of that name anywhere inside, such as in `Some(Fixed(batch: 1))`.
    pub fn find(&self, key: &str) -> Option<&Entry> {
        self.field(key).or_else(|| self.children.iter().find_map(|child| child.find(key)))
    }

    /// What a path such as `loads.1.factor` names: fields, anywhere inside, and numbers of list
    /// items. When it is not all there, such as a field that was left out, the deepest that is.
    pub fn at(&self, path: &str) -> &Entry {
        let mut here = self;
        for name in path.split('.') {
            let next = match name.parse::<usize>() {
                Ok(number) => here.list().children.get(number),
                Err(_) => here.find(name),
            };
            match next {
                Some(next) => here = next,
                None => break,
            }
        }
        here
    }

    /// The list, in `Some([…])` the one inside.
    fn list(&self) -> &Entry {
        match &self.children[..] {
            [only] if only.key.is_empty() && !only.removable => only.list(),
            _ => self,
        }
    }

    /// From the root down to the deepest entry that holds or touches the byte offset `at`.
    pub fn path_to(&self, at: usize) -> Vec<&Entry> {
        let mut path = vec![self];
        let mut here = self;
        while let Some(child) = here.children.iter().find(|child| {
            let span = child.span();
            span.start <= at && at <= span.end
        }) {
            path.push(child);
            here = child;
        }
        path
    }
}

/// Reads entries up to the closing bracket, which is left for the caller's span.
fn entries(tokens: &mut Tokens<'_>, removable: bool) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut entry: Option<Entry> = None;
    while let Some((token, span)) = tokens.next() {
        let source = tokens.source;
        match token {
            Token::Close(_) => break,
            Token::Comma => {
                entries.extend(entry.take().map(|e| Entry { comma: Some(span.start), ..e }));
            }
            Token::Colon => {
                if let Some(entry) = &mut entry {
                    entry.key_span = entry.value_span.clone();
                    entry.key = source[entry.key_span.clone()].to_string();
                    entry.removable = true;
                    entry.value_span = span.end..span.end;
                }
            }
            Token::Open(_) | Token::Atom | Token::Unclosed => {
                let entry = entry.get_or_insert_with(|| Entry {
                    value_span: span.clone(),
                    removable,
                    ..Entry::default()
                });
                if entry.value_span.is_empty() {
                    entry.value_span.start = span.start;
                }
                if let Token::Open(bracket) = token {
                    entry.children.extend(self::entries(tokens, bracket == '['));
                }
                entry.value_span.end = if token == Token::Atom { span.end } else { tokens.at };
            }
        }
    }
    entries.extend(entry);
    entries
}

/// What keeps a text from being well-formed, and where.
#[derive(Debug, PartialEq)]
pub enum Unbalanced {
    /// A `"` without its partner; the text that begins here is at least where it shows.
    Text(usize),
    /// Two brackets that don't belong together; either may be missing.
    Bracket { open: Option<(char, usize)>, close: Option<(char, usize)> },
}

/// The first quote or bracket without a partner, if there is one.
pub fn unbalanced(source: &str) -> Option<Unbalanced> {
    let last = Tokens { source, at: 0 }.last();
    if let Some((Token::Unclosed, last)) = last {
        // A missing quote turns texts inside out from there on, so one that goes over the end of
        // its line comes sooner than the last.
        let inside_out = |span: &Range<usize>| {
            source[span.clone()].starts_with('"') && source[span.clone()].contains('\n')
        };
        let first = Tokens { source, at: 0 }.map(|(_, span)| span).find(inside_out);
        return Some(Unbalanced::Text(first.unwrap_or(last).start));
    }
    let mut open = Vec::new();
    for (token, span) in (Tokens { source, at: 0 }) {
        match token {
            Token::Open(bracket) => open.push((bracket, span.start)),
            Token::Close(bracket) => {
                let partner = open.pop();
                if partner.map(|(open, _)| closing(open)) != Some(bracket) {
                    return Some(Unbalanced::Bracket {
                        open: partner,
                        close: Some((bracket, span.start)),
                    });
                }
            }
            _ => {}
        }
    }
    open.pop().map(|open| Unbalanced::Bracket { open: Some(open), close: None })
}

/// The bracket that closes `open`.
pub fn closing(open: char) -> char {
    match open {
        '(' => ')',
        '[' => ']',
        _ => '}',
    }
}

/// The end of the last token that ends at or before `at`; 0 when there is none.
pub fn last_token_end(source: &str, at: usize) -> usize {
    let tokens = Tokens { source, at: 0 };
    tokens.map(|(_, span)| span.end).take_while(|&end| end <= at).last().unwrap_or(0)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Token {
    Open(char),
    Close(char),
    Comma,
    Colon,
    /// A name, number, string or character.
    Atom,
    /// A string without an end.
    Unclosed,
}

struct Tokens<'a> {
    source: &'a str,
    at: usize,
}

impl Iterator for Tokens<'_> {
    type Item = (Token, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        self.skip_blank();
        let start = self.at;
        let first = self.source[start..].chars().next()?;
        self.at += first.len_utf8();
        let token = match first {
            '(' | '[' | '{' => Token::Open(first),
            ')' | ']' | '}' => Token::Close(first),
            ',' => Token::Comma,
            ':' => Token::Colon,
            '"' => self.end_of_string(),
            '\'' => self.end_of_char(),
            'r' if self.skip_raw_string() => Token::Atom,
            _ => {
                self.at += self.rest().find(ends_atom).unwrap_or(self.rest().len());
                Token::Atom
            }
        };
        Some((token, start..self.at))
    }
}

fn ends_atom(c: char) -> bool {
    is_blank(c) || matches!(c, '(' | ')' | '[' | ']' | '{' | '}' | ',' | ':' | '"' | '/')
}

/// What RON takes as white space.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{200e}' | '\u{200f}')
}

impl Tokens<'_> {
    fn rest(&self) -> &str {
        &self.source[self.at..]
    }

    /// Goes past the next `text`, or to the end of the source.
    fn skip_past(&mut self, text: &str) {
        self.at += self.rest().find(text).map_or(self.rest().len(), |i| i + text.len());
    }

    /// White space and comments; block comments nest.
    fn skip_blank(&mut self) {
        loop {
            let rest = self.rest();
            self.at += rest.len() - rest.trim_start_matches(is_blank).len();
            if self.rest().starts_with("//") {
                self.skip_past("\n");
            } else if self.rest().starts_with("/*") {
                let mut depth = 0;
                while !self.rest().is_empty() {
                    let step = match self.rest() {
                        rest if rest.starts_with("/*") => 1,
                        rest if rest.starts_with("*/") => -1,
                        _ => 0,
                    };
                    depth += step;
                    self.at += if step == 0 {
                        self.rest().chars().next().map_or(0, char::len_utf8)
                    } else {
                        2
                    };
                    if depth == 0 {
                        break;
                    }
                }
            } else {
                return;
            }
        }
    }

    fn end_of_string(&mut self) -> Token {
        let mut escaped = false;
        let end = self.rest().find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        self.at = end.map_or(self.source.len(), |i| self.at + i + 1);
        if end.is_some() { Token::Atom } else { Token::Unclosed }
    }

    fn end_of_char(&mut self) -> Token {
        // The first character may be a quote itself (`'\''`).
        let skip = if self.rest().starts_with('\\') { 2 } else { 1 };
        let skipped: usize = self.rest().chars().take(skip).map(char::len_utf8).sum();
        self.at += skipped;
        self.skip_past("'");
        Token::Atom
    }

    /// After an `r`: `"…"` or `#"…"#` with any number of hashes.
    fn skip_raw_string(&mut self) -> bool {
        let hashes = self.rest().len() - self.rest().trim_start_matches('#').len();
        if !self.rest()[hashes..].starts_with('"') {
            return false;
        }
        let end = format!("\"{}", &self.rest()[..hashes]);
        self.at += hashes + 1;
        self.skip_past(&end);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_fields_and_items_are_found() {
        let source = r##"#![enable(implicit_some)]
( // a ( comment
    a: "x)\"", /* nested /* [ */ ( */ b: [1, Two(3), (four: '(')],
    c: Some((d: r#"raw " ("#)),
)"##;
        let root = Entry::root(source);
        let text = |entry: &Entry| source[entry.span()].to_string();
        assert_eq!(text(root.field("a").unwrap()), r#"a: "x)\"""#);
        let items: Vec<_> = root.field("b").unwrap().children.iter().map(text).collect();
        assert_eq!(items, ["1", "Two(3)", "(four: '(')"]);
        assert_eq!(text(root.find("four").unwrap()), "four: '('");
        assert_eq!(text(root.find("d").unwrap()), "d: r#\"raw \" (\"#");
        let at = |path| source[root.at(path).value_span.clone()].to_string();
        assert_eq!(at("b.1"), "Two(3)");
        assert_eq!(at("b.2.four"), "'('");
        assert_eq!(at("b.2.five"), at("b.2"), "as far as it goes");
        let wrapped = Entry::root("(e: Some([(f: 1), (f: 2)]))");
        assert_eq!(wrapped.at("e.1.f").value_span, 22..23);
        let path = root.path_to(source.find("four").unwrap());
        assert_eq!(path.iter().map(|e| e.key.as_str()).collect::<Vec<_>>(), ["", "b", "", "four"]);
    }

    #[test]
    fn the_first_quote_or_bracket_without_a_partner_is_named() {
        assert_eq!(unbalanced("(a: [1, \")\"], )"), None);
        let closed_wrong = Unbalanced::Bracket { open: Some(('[', 4)), close: Some((')', 6)) };
        assert_eq!(unbalanced("(a: [1)"), Some(closed_wrong));
        let never_closed = Unbalanced::Bracket { open: Some(('[', 4)), close: None };
        assert_eq!(unbalanced("(a: [1, 2"), Some(never_closed));
        assert_eq!(unbalanced("(a: \"x, b: 1)"), Some(Unbalanced::Text(4)));
        assert_eq!(unbalanced("(a: \"x,\n b: \"y\")"), Some(Unbalanced::Text(4)));
        assert_eq!(
            unbalanced("())"),
            Some(Unbalanced::Bracket { open: None, close: Some((')', 2)) })
        );
    }
}
