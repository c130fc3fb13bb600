//! From a command's usage line to the arguments of COMMAND DOCS, from which clients make hints.
//!
//! The line is written as in manuals: `key value [NX | XX] [EX seconds | PX milliseconds] (field value)...`. Words in capitals are
//! tokens, others are values; brackets are optional, parentheses group, bars are a choice, dots mean "once or more".

use crate::command::Reply;

/// The arguments that a usage line names.
pub(crate) fn arguments(usage: &'static str) -> Vec<Reply> {
    let mut reader = Reader { words: words(usage), at: 0 };
    reader.choice().0.iter().map(reply).collect()
}

/// One argument of a command.
struct Argument {
    name: String,
    kind: &'static str,
    token: Option<&'static str>,
    optional: bool,
    multiple: bool,
    parts: Vec<Argument>,
}

impl Argument {
    fn new(name: impl Into<String>, kind: &'static str) -> Self {
        Self { name: name.into(), kind, token: None, optional: false, multiple: false, parts: Vec::new() }
    }
}

/// Words and marks of a usage line.
fn words(usage: &'static str) -> Vec<&'static str> {
    let mut words = Vec::new();
    for mut word in usage.split_whitespace() {
        while let Some(mark) = word.chars().next().filter(|c| "[(".contains(*c)) {
            let (head, rest) = word.split_at(mark.len_utf8());
            words.push(head);
            word = rest;
        }
        let end = word.find([']', ')', '.']).unwrap_or(word.len());
        let (head, mut tail) = word.split_at(end);
        if !head.is_empty() {
            words.push(head);
        }
        while !tail.is_empty() {
            let len = if tail.starts_with("...") { 3 } else { 1 };
            words.push(&tail[..len]);
            tail = &tail[len..];
        }
    }
    words
}

struct Reader {
    words: Vec<&'static str>,
    at: usize,
}

impl Reader {
    fn peek(&self) -> Option<&'static str> {
        self.words.get(self.at).copied()
    }

    fn takes(&mut self, word: &str) -> bool {
        let found = self.peek() == Some(word);
        self.at += usize::from(found);
        found
    }

    /// Alternatives up to a closing mark or the end; the sequence itself if there is only one. Says whether it is a choice.
    fn choice(&mut self) -> (Vec<Argument>, bool) {
        let mut alternatives = vec![self.sequence()];
        while self.takes("|") {
            alternatives.push(self.sequence());
        }
        if alternatives.len() == 1 {
            return (alternatives.remove(0), false);
        }
        let mut choice = Argument::new("choice", "oneof");
        choice.parts = alternatives.into_iter().map(block).collect();
        (vec![choice], true)
    }

    fn sequence(&mut self) -> Vec<Argument> {
        let mut arguments = Vec::new();
        while let Some(word) = self.peek() {
            if matches!(word, "|" | "]" | ")") {
                break;
            }
            self.at += 1;
            let mut argument = match word {
                "[" | "(" => {
                    let mut inner = block(self.choice().0);
                    self.at += usize::from(self.peek().is_some());
                    inner.optional |= word == "[";
                    inner
                }
                _ => self.word(word),
            };
            argument.multiple |= self.takes("...");
            arguments.push(argument);
        }
        arguments
    }

    /// A token, with the value behind it if there is one, or a value.
    fn word(&mut self, word: &'static str) -> Argument {
        if !is_token(word) {
            return Argument::new(word, kind(word));
        }
        let value = self.peek().filter(|next| next.starts_with(|c: char| c.is_ascii_lowercase()));
        let mut argument = match value {
            Some(value) => {
                self.at += 1;
                Argument::new(value, kind(value))
            }
            None => Argument::new(word.to_ascii_lowercase(), "pure-token"),
        };
        argument.token = Some(word);
        argument
    }
}

/// A sequence as one argument.
fn block(mut sequence: Vec<Argument>) -> Argument {
    if sequence.len() == 1 {
        return sequence.remove(0);
    }
    let name = sequence.iter().map(|part| part.name.as_str()).collect::<Vec<_>>().join("-");
    let mut block = Argument::new(name, "block");
    block.parts = sequence;
    block
}

fn is_token(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_uppercase())
}

/// The type of a value, by its name.
fn kind(name: &str) -> &'static str {
    match name {
        "key" | "newkey" => "key",
        "pattern" => "pattern",
        "unix-time-seconds" | "unix-time-milliseconds" => "unix-time",
        "seconds" | "milliseconds" | "count" | "cursor" | "increment" | "decrement" | "rows" | "size" | "start"
        | "end" | "index" | "protover" | "numrows" | "numcolumns" | "maximum" | "minimum" | "expected"
        | "key-bytes" | "client-id" => "integer",
        _ => "string",
    }
}

fn reply(argument: &Argument) -> Reply {
    let text = |text: &str| Reply::from(text);
    let mut fields =
        vec![(Reply::Text("name"), text(&argument.name)), (Reply::Text("type"), Reply::Text(argument.kind))];
    if argument.parts.is_empty() {
        fields.push((Reply::Text("display_text"), text(&argument.name)));
    }
    if argument.kind == "key" {
        fields.push((Reply::Text("key_spec_index"), Reply::Int(0)));
    }
    if let Some(token) = argument.token {
        fields.push((Reply::Text("token"), Reply::Text(token)));
    }
    let flags = [(argument.optional, "optional"), (argument.multiple, "multiple")];
    let flags: Vec<Reply> = flags.into_iter().filter(|(set, _)| *set).map(|(_, name)| Reply::Status(name)).collect();
    if !flags.is_empty() {
        fields.push((Reply::Text("flags"), Reply::Set(flags)));
    }
    if !argument.parts.is_empty() {
        fields.push((Reply::Text("arguments"), Reply::Array(argument.parts.iter().map(reply).collect())));
    }
    Reply::Map(fields)
}
