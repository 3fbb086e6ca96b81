//! onnx: a network as an ONNX file: those of its protocol-buffer messages that a graph of operators needs.

/// The version of ONNX's file format, and of its operators.
const IR_VERSION: u64 = 8;
const OPERATORS: u64 = 13;
/// A message of protocol buffers is smaller.
const LARGEST: usize = i32::MAX as usize;

/// The type of a tensor's numbers; the value is ONNX's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// f32.
    Single = 1,
    /// u8.
    Byte = 2,
    /// i64.
    Integer = 7,
    /// f64.
    Double = 11,
}

/// A setting of an operator.
#[derive(Clone, Copy, Debug)]
pub enum Setting<'a> {
    /// One number.
    One(&'a str, i64),
    /// A list of numbers.
    List(&'a str, &'a [i64]),
    /// A real number.
    Real(&'a str, f32),
}

/// One side of a tensor.
#[derive(Clone, Copy, Debug)]
pub enum Side<'a> {
    /// Known.
    Of(i64),
    /// Any, called so.
    Any(&'a str),
}

/// A graph on its way. Operators must come after those whose values they read.
pub struct Graph(Message);

impl Graph {
    /// A graph without anything.
    pub fn new(name: &str) -> Self {
        let mut message = Message::default();
        message.text(2, name);
        Self(message)
    }

    /// Adds an operator that makes `output` of `inputs`.
    pub fn node(&mut self, operator: &str, inputs: &[&str], output: &str, settings: &[Setting<'_>]) {
        let mut node = Message::default();
        inputs.iter().for_each(|input| node.text(1, input));
        node.text(2, output);
        node.text(4, operator);
        for setting in settings {
            let mut attribute = Message::default();
            match setting {
                Setting::One(name, number) => {
                    attribute.text(1, name);
                    attribute.number(3, *number as u64);
                    attribute.number(20, 2);
                }
                Setting::List(name, numbers) => {
                    attribute.text(1, name);
                    numbers.iter().for_each(|number| attribute.number(8, *number as u64));
                    attribute.number(20, 7);
                }
                Setting::Real(name, number) => {
                    attribute.text(1, name);
                    attribute.real(2, *number);
                    attribute.number(20, 1);
                }
            }
            node.message(5, &attribute);
        }
        self.0.message(1, &node);
    }

    /// Adds a constant: little endian, the last side running fastest.
    pub fn constant(&mut self, name: &str, numbers: Numbers, shape: &[usize], bytes: &[u8]) {
        let mut tensor = Message::default();
        shape.iter().for_each(|side| tensor.number(1, *side as u64));
        tensor.number(2, numbers as u64);
        tensor.text(8, name);
        tensor.bytes(9, bytes);
        self.0.message(5, &tensor);
    }

    /// Adds a constant of f32.
    pub fn singles(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, Numbers::Single, shape, &bytes);
    }

    /// Says what the graph reads.
    pub fn input(&mut self, name: &str, numbers: Numbers, shape: &[Side<'_>]) {
        self.0.message(11, &value(name, numbers, shape));
    }

    /// Says what the graph makes.
    pub fn output(&mut self, name: &str, numbers: Numbers, shape: &[Side<'_>]) {
        self.0.message(12, &value(name, numbers, shape));
    }

    /// The file; none if it would be larger than the format allows.
    pub fn file(self, metadata: &[(&str, &str)]) -> Option<Vec<u8>> {
        let mut model = Message::default();
        model.number(1, IR_VERSION);
        model.text(2, "dcpipe");
        model.text(3, env!("CARGO_PKG_VERSION"));
        let mut operators = Message::default();
        operators.text(1, "");
        operators.number(2, OPERATORS);
        model.message(8, &operators);
        for (key, value) in metadata {
            let mut entry = Message::default();
            entry.text(1, key);
            entry.text(2, value);
            model.message(14, &entry);
        }
        model.message(7, &self.0);
        (model.0.len() <= LARGEST).then_some(model.0)
    }
}

fn value(name: &str, numbers: Numbers, shape: &[Side<'_>]) -> Message {
    let mut sides = Message::default();
    for side in shape {
        let mut dimension = Message::default();
        match side {
            Side::Of(number) => dimension.number(1, *number as u64),
            Side::Any(name) => dimension.text(2, name),
        }
        sides.message(1, &dimension);
    }
    let mut tensor = Message::default();
    tensor.number(1, numbers as u64);
    tensor.message(2, &sides);
    let mut kind = Message::default();
    kind.message(1, &tensor);
    let mut value = Message::default();
    value.text(1, name);
    value.message(2, &kind);
    value
}

/// A message of protocol buffers: fields, each with its number and its kind.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn number(&mut self, field: u64, number: u64) {
        self.varint(field << 3);
        self.varint(number);
    }

    fn real(&mut self, field: u64, number: f32) {
        self.varint(field << 3 | 5);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, field: u64, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    fn message(&mut self, field: u64, message: &Message) {
        self.bytes(field, &message.0);
    }
}
