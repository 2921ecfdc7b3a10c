//! The header of an `.npy` file: a Python dictionary of three known keys, parsed strictly.

/// The parsed header.
#[derive(Debug, PartialEq, Eq)]
pub struct Header {
    /// The element type.
    pub descr: Descr,
    /// Whether the first axis varies fastest.
    pub fortran_order: bool,
    /// The length of each axis.
    pub shape: Vec<u64>,
}

/// Element type of an array.
#[derive(Debug, PartialEq, Eq)]
pub enum Descr {
    /// A plain type by its name, such as `<f4`.
    Plain(String),
    /// A structure of any fields.
    Structured,
}

impl Header {
    /// Parses `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`, keys in any order.
    ///
    /// # Errors
    /// A message that follows the name of the file.
    pub fn parse(text: &str) -> Result<Header, String> {
        let mut cursor = Cursor { rest: text };
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        cursor.expect('{')?;
        while !cursor.accept('}') {
            let key = cursor.string()?;
            cursor.expect(':')?;
            let repeated = match key {
                "descr" => descr.replace(cursor.descr()?).is_some(),
                "fortran_order" => fortran_order.replace(cursor.boolean()?).is_some(),
                "shape" => shape.replace(cursor.tuple()?).is_some(),
                _ => return Err(format!("its header has an unknown key {key:?}")),
            };
            if repeated {
                return Err(format!("its header has the key {key:?} twice"));
            }
            if !cursor.accept(',') {
                cursor.expect('}')?;
                break;
            }
        }
        if !cursor.rest.trim().is_empty() {
            return Err("its header has text after the dictionary".to_owned());
        }
        let missing = |key: &str| format!("its header does not say {key:?}");
        Ok(Header {
            descr: descr.ok_or_else(|| missing("descr"))?,
            fortran_order: fortran_order.ok_or_else(|| missing("fortran_order"))?,
            shape: shape.ok_or_else(|| missing("shape"))?,
        })
    }
}

/// The rest of the text.
struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn accept(&mut self, wanted: char) -> bool {
        let rest = self.rest.trim_start();
        match rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        if self.accept(wanted) {
            return Ok(());
        }
        Err(format!(
            "its header lacks {wanted:?} before {}",
            self.shown()
        ))
    }

    /// The next few characters, for messages.
    fn shown(&self) -> String {
        format!("{:?}", self.rest.chars().take(20).collect::<String>())
    }

    fn string(&mut self) -> Result<&'a str, String> {
        let rest = self.rest.trim_start();
        let quote = rest
            .chars()
            .next()
            .filter(|first| matches!(first, '\'' | '"'));
        let quoted = quote.and_then(|quote| rest[1..].split_once(quote));
        let Some((text, rest)) = quoted else {
            return Err(format!("its header lacks a string before {}", self.shown()));
        };
        self.rest = rest;
        Ok(text)
    }

    fn boolean(&mut self) -> Result<bool, String> {
        let rest = self.rest.trim_start();
        for (text, value) in [("True", true), ("False", false)] {
            if let Some(rest) = rest.strip_prefix(text) {
                self.rest = rest;
                return Ok(value);
            }
        }
        Err(format!(
            "its header lacks True or False before {}",
            self.shown()
        ))
    }

    fn descr(&mut self) -> Result<Descr, String> {
        if !self.rest.trim_start().starts_with('[') {
            return self.string().map(|text| Descr::Plain(text.to_owned()));
        }
        // A structure is refused, so only its end matters, not its fields.
        let mut depth = 0_usize;
        let mut quote = None;
        for (at, character) in self.rest.char_indices() {
            match (quote, character) {
                (Some(open), _) if open == character => quote = None,
                (Some(_), _) => {}
                (None, '\'' | '"') => quote = Some(character),
                (None, '[') => depth += 1,
                (None, ']') => {
                    depth -= 1;
                    if depth == 0 {
                        self.rest = &self.rest[at + 1..];
                        return Ok(Descr::Structured);
                    }
                }
                _ => {}
            }
        }
        Err("its header has an element type without an end".to_owned())
    }

    fn tuple(&mut self) -> Result<Vec<u64>, String> {
        let mut axes = Vec::new();
        self.expect('(')?;
        while !self.accept(')') {
            let rest = self.rest.trim_start();
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let axis = rest[..digits]
                .parse()
                .map_err(|_| format!("its header lacks a length before {}", self.shown()))?;
            axes.push(axis);
            self.rest = &rest[digits..];
            // Arrays saved by Python 2 wrote long integers.
            self.accept('L');
            if !self.accept(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(axes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn headers_of_real_writers_are_parsed() {
        for (text, expected) in [
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }      \n",
                ("<f4", false, vec![3, 4]),
            ),
            (
                "{\"shape\":(7,),\"descr\":\"|u1\",\"fortran_order\":True}",
                ("|u1", true, vec![7]),
            ),
            (
                "{'descr': '<i8', 'fortran_order': False, 'shape': (), }",
                ("<i8", false, vec![]),
            ),
            (
                "{'descr': '<i8', 'fortran_order': False, 'shape': (5L, 2L)}",
                ("<i8", false, vec![5, 2]),
            ),
        ] {
            let header = Header::parse(text).unwrap();
            assert_eq!(header.descr, Descr::Plain(expected.0.to_owned()), "{text}");
            assert_eq!(header.fortran_order, expected.1, "{text}");
            assert_eq!(header.shape, expected.2, "{text}");
        }
    }

    #[test]
    fn structured_types_are_recognised() {
        let text = "{'descr': [('a]', '<f4'), ('b', [('c', '<i4')])], \
                    'fortran_order': False, 'shape': (2,), }";
        assert_eq!(Header::parse(text).unwrap().descr, Descr::Structured);
    }

    #[test]
    fn broken_headers_are_refused() {
        for text in [
            "",
            "{",
            "{}",
            "{'descr': '<f4'}",
            "{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}",
            "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x",
            "{'descr': [('a', '<f4'), 'fortran_order': False, 'shape': (1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
        ] {
            assert!(Header::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "[\\[\\](){}',:a-z0-9 TrueFals\u{e9}]{0,60}") {
            let _ = Header::parse(&text);
        }

        #[test]
        fn any_shape_comes_back(shape in prop::collection::vec(any::<u64>(), 0..5)) {
            let axes: String = shape.iter().map(|axis| format!("{axis}, ")).collect();
            let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({axes})}}");
            prop_assert_eq!(Header::parse(&text).unwrap().shape, shape);
        }
    }
}
