//! The protocol between two mstores at the ends of a pair of pipes, as over ssh.
//!
//! Both sides first send a hello. Then one asks and the other answers; whoever receives a tree asks for
//! its objects, so that a copy in either direction is the same walk. Frames are bounded; objects are
//! checked by whoever receives them.

use std::io::{self, Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mstore_store::codec;
use mstore_store::transfer::{Fact, MAX_FACT, Object, Progress, Source, TransferError};
use mstore_store::{Hash, TreeHash};

use super::peer::{Ask, Believe, LocalPeer, Offer, Peer};

/// The version that this release speaks.
pub const VERSION: u32 = 1;
const MAGIC: &str = "mstore wire";
/// Largest frame that is not an object.
const MAX_FRAME: usize = 64 << 20;
/// Number of objects that one frame asks for.
const BATCH: usize = 512;
/// Number of such frames that may be unanswered. Together they fit into the buffer of a pipe, so that
/// writing one never waits for the other side to read.
const AHEAD: usize = 3;
/// Room for a frame of objects to be asked for, in hashes.
const MAX_WANTED: usize = 100_000;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Tag {
    Hello = 1,
    Ask = 2,
    Fact = 3,
    Offer = 4,
    Offered = 5,
    Get = 6,
    Object = 7,
    End = 8,
    Push = 9,
    Progress = 10,
    Done = 11,
    Error = 12,
}

impl Tag {
    fn from_number(number: u8) -> Option<Tag> {
        use Tag::*;
        [
            Hello, Ask, Fact, Offer, Offered, Get, Object, End, Push, Progress, Done, Error,
        ]
        .into_iter()
        .find(|tag| *tag as u8 == number)
    }
}

/// What is to be received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Push {
    /// The trees.
    pub trees: Vec<TreeHash>,
    /// The name to keep them under.
    pub root: Option<String>,
    /// Nothing is kept.
    pub dry_run: bool,
    /// Whoever sends would have signatures not matter. Whether they do is for the receiver alone to say.
    pub blind: bool,
}

/// What receiving came to, or how far it is, as it travels: the fields of [`Progress`] in their order.
type Counts = (u64, u64, u64, u64, u64);

fn counts(p: Progress) -> Counts {
    (
        p.objects,
        p.objects_wanted,
        p.bytes,
        p.content,
        p.content_wanted,
    )
}

fn progress_of((objects, objects_wanted, bytes, content, content_wanted): Counts) -> Progress {
    Progress {
        objects,
        objects_wanted,
        bytes,
        content,
        content_wanted,
    }
}

/// One end of a connection.
pub struct Wire {
    name: String,
    read: Mutex<Box<dyn Read + Send>>,
    write: Mutex<Box<dyn Write + Send>>,
    broken: Mutex<Option<String>>,
    progress: Mutex<Option<Progress>>,
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The receiving end of a push.
pub trait Receiver {
    /// Decides about a fact as soon as it has come: gives back what of it is to be kept, or says why not.
    fn believe(&self, fact: Fact) -> Result<Fact, String>;

    /// Does what a push asks for with the facts that were believed; its objects come over the same wire.
    fn receive(&self, wire: &Wire, facts: Vec<Fact>, push: Push) -> Result<Progress, String>;
}

impl Wire {
    /// Greets the other end.
    pub fn new(
        name: impl Into<String>,
        read: Box<dyn Read + Send>,
        write: Box<dyn Write + Send>,
    ) -> Result<Wire, TransferError> {
        let wire = Wire {
            name: name.into(),
            read: Mutex::new(Box::new(io::BufReader::with_capacity(256 << 10, read))),
            write: Mutex::new(Box::new(io::BufWriter::with_capacity(256 << 10, write))),
            broken: Mutex::default(),
            progress: Mutex::default(),
        };
        wire.send(Tag::Hello, format!("{MAGIC} {VERSION}\n").as_bytes())?;
        wire.flush()?;
        let mut greeting = [0; 5];
        let mut reader = lock(&wire.read);
        let no = |detail: String| wire.fail(detail);
        // Whatever a shell prints at login comes here instead. One byte of it is enough: a prompt has few.
        let (first, rest) = greeting.split_at_mut(1);
        let mut read = reader.read_exact(first);
        let is_hello = first == [Tag::Hello as u8];
        if is_hello {
            read = read.and_then(|()| reader.read_exact(rest));
        }
        read.map_err(|e| no(closed(&e)))?;
        let length = u32::from_le_bytes([greeting[1], greeting[2], greeting[3], greeting[4]]);
        if !is_hello || length > 100 {
            return Err(no(
                "it does not answer as mstore does; if its shell prints \
                 something for sessions without a terminal, make it stop"
                    .into(),
            ));
        }
        let mut text = vec![0; length as usize];
        reader.read_exact(&mut text).map_err(|e| no(closed(&e)))?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let version = text.strip_prefix(MAGIC).map(|v| v.trim().parse::<u32>());
        match version {
            Some(Ok(VERSION)) => {}
            Some(Ok(other)) => {
                return Err(no(format!(
                    "it speaks version {other} of the protocol, and this release {VERSION}"
                )));
            }
            _ => return Err(no("it does not answer as mstore does".into())),
        }
        drop(reader);
        Ok(wire)
    }

    /// Marks the connection as not to be used any more.
    fn fail(&self, detail: impl Into<String>) -> TransferError {
        let detail = detail.into();
        lock(&self.broken).get_or_insert_with(|| detail.clone());
        TransferError::peer(&self.name, detail)
    }

    fn usable(&self) -> Result<(), TransferError> {
        match &*lock(&self.broken) {
            None => Ok(()),
            Some(detail) => Err(TransferError::peer(&self.name, detail.clone())),
        }
    }

    fn send(&self, tag: Tag, payload: &[u8]) -> Result<(), TransferError> {
        self.send_parts(tag, &[payload])
    }

    fn send_parts(&self, tag: Tag, parts: &[&[u8]]) -> Result<(), TransferError> {
        let length: usize = parts.iter().map(|p| p.len()).sum();
        let length = u32::try_from(length).map_err(|_| self.fail("a frame is too long"))?;
        let mut write = lock(&self.write);
        let mut all = || -> io::Result<()> {
            write.write_all(&[tag as u8])?;
            write.write_all(&length.to_le_bytes())?;
            parts.iter().try_for_each(|part| write.write_all(part))
        };
        all().map_err(|e| self.fail(closed(&e)))
    }

    fn flush(&self) -> Result<(), TransferError> {
        let flushed = lock(&self.write).flush();
        flushed.map_err(|e| self.fail(closed(&e)))
    }

    /// Reads one frame; `None` at the end of the connection.
    fn receive(&self) -> Result<Option<(Tag, Vec<u8>)>, TransferError> {
        self.usable()?;
        let mut read = lock(&self.read);
        let mut head = [0; 5];
        let mut have = 0;
        while have < head.len() {
            match read.read(&mut head[have..]) {
                Ok(0) if have == 0 => return Ok(None),
                Ok(0) => return Err(self.fail("the connection broke off")),
                Ok(n) => have += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.fail(closed(&e))),
            }
        }
        let tag = Tag::from_number(head[0]).ok_or_else(|| self.fail("it sent nonsense"))?;
        let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut payload = Vec::new();
        if tag == Tag::Object {
            // What the head says is bounded, so that nobody can make us allocate more.
            payload.resize(Object::HEAD, 0);
            let read = read.read_exact(&mut payload);
            read.map_err(|e| self.fail(closed(&e)))?;
            let fits = Object::stored_len(&payload)
                .is_some_and(|stored| stored + Object::HEAD as u64 == length as u64);
            if !fits {
                return Err(self.fail("it sent an object that cannot be"));
            }
        } else if length > MAX_FRAME || tag == Tag::Fact && length > MAX_FACT {
            return Err(self.fail("it sent a frame that is too long"));
        }
        let from = payload.len();
        // Grown as it comes: a length alone makes nobody allocate.
        let mut rest = (&mut *read).take((length - from) as u64);
        rest.read_to_end(&mut payload)
            .map_err(|e| self.fail(closed(&e)))?;
        if payload.len() != length {
            return Err(self.fail("the connection broke off"));
        }
        Ok(Some((tag, payload)))
    }

    /// Reads a frame that must come.
    fn next_frame(&self) -> Result<(Tag, Vec<u8>), TransferError> {
        match self.receive()? {
            Some((Tag::Error, text)) => Err(self.fail(clean(&text))),
            Some(frame) => Ok(frame),
            None => Err(self.fail("the connection broke off")),
        }
    }

    fn nonsense(&self) -> TransferError {
        self.fail("it sent what does not belong here")
    }

    /// Sends facts and trees, and answers the questions of the other end until it has them.
    pub fn push(
        &self,
        from: &LocalPeer,
        facts: &mut dyn Iterator<Item = &Fact>,
        push: &Push,
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Progress, TransferError> {
        self.usable()?;
        for fact in facts {
            self.send(Tag::Fact, &fact.encode())?;
        }
        let body = (&push.trees, &push.root, push.dry_run, push.blind);
        self.send(Tag::Push, &codec::encode(&body))?;
        self.flush()?;
        loop {
            match self.next_frame()? {
                (Tag::Get, wanted) => self.answer_get(from, &wanted)?,
                (Tag::Progress, bytes) => {
                    let counts = codec::decode(&bytes, 100).map_err(|_| self.nonsense())?;
                    if !progress(progress_of(counts)) {
                        return Err(TransferError::Cancelled);
                    }
                }
                (Tag::Done, bytes) => {
                    let counts = codec::decode(&bytes, 100).map_err(|_| self.nonsense())?;
                    return Ok(progress_of(counts));
                }
                _ => return Err(self.nonsense()),
            }
        }
    }

    fn answer_get(&self, from: &LocalPeer, wanted: &[u8]) -> Result<(), TransferError> {
        if !wanted.len().is_multiple_of(32) || wanted.len() / 32 > MAX_WANTED {
            return Err(self.nonsense());
        }
        let wanted: Vec<Hash> = wanted
            .chunks_exact(32)
            .filter_map(Hash::from_slice)
            .collect();
        from.source().each(&wanted, &mut |object| {
            self.send_parts(Tag::Object, &[&object.head(), object.stored()])
        })?;
        self.send(Tag::End, &[])?;
        self.flush()
    }

    /// Answers questions until the other end goes away; `receiver` does what a push asks for.
    pub fn serve(&self, from: &LocalPeer, receiver: &dyn Receiver) -> Result<(), TransferError> {
        let mut facts = Vec::new();
        let mut room = 0usize;
        // Why one of the facts is not believed. The other end listens when it has sent all of them.
        let mut refused = None;
        while let Some((tag, payload)) = self.receive()? {
            match tag {
                Tag::Ask => {
                    let ask: (Vec<Hash>, Vec<Hash>) =
                        codec::decode(&payload, MAX_FRAME).map_err(|_| self.nonsense())?;
                    let ask = Ask {
                        keys: ask.0,
                        drvs: ask.1,
                    };
                    for fact in self.or_tell(from.facts(&ask, &Some))? {
                        self.send(Tag::Fact, &fact.encode())?;
                    }
                    self.send(Tag::End, &[])?;
                }
                Tag::Offer => {
                    let trees: Vec<TreeHash> =
                        codec::decode(&payload, MAX_FRAME).map_err(|_| self.nonsense())?;
                    let offers: Vec<bool> = self
                        .or_tell(from.offer(&trees))?
                        .iter()
                        .map(Option::is_some)
                        .collect();
                    self.send(Tag::Offered, &codec::encode(&offers))?;
                }
                Tag::Get => {
                    let done = self.answer_get(from, &payload);
                    self.or_tell(done)?;
                }
                Tag::Fact => {
                    room += payload.len();
                    if room > 4 * MAX_FRAME {
                        return Err(self.nonsense());
                    }
                    let fact = Fact::decode(&payload).map_err(|_| self.nonsense())?;
                    if refused.is_none() {
                        match receiver.believe(fact) {
                            Ok(fact) => facts.push(fact),
                            Err(why) => {
                                facts.clear();
                                refused = Some(why);
                            }
                        }
                    }
                }
                Tag::Push => {
                    type Body = (Vec<TreeHash>, Option<String>, bool, bool);
                    let (trees, root, dry_run, blind): Body =
                        codec::decode(&payload, MAX_FRAME).map_err(|_| self.nonsense())?;
                    let push = Push {
                        trees,
                        root,
                        dry_run,
                        blind,
                    };
                    room = 0;
                    let facts = std::mem::take(&mut facts);
                    let done = match refused.take() {
                        Some(why) => Err(why),
                        None => receiver.receive(self, facts, push),
                    };
                    match done {
                        Ok(done) => self.send(Tag::Done, &codec::encode(&counts(done)))?,
                        Err(text) => {
                            self.send(Tag::Error, text.as_bytes())?;
                            self.flush()?;
                            return Err(self.fail(text));
                        }
                    }
                }
                _ => return Err(self.nonsense()),
            }
            self.flush()?;
        }
        Ok(())
    }

    /// Tells the other end why there is no answer.
    fn or_tell<T>(&self, result: Result<T, TransferError>) -> Result<T, TransferError> {
        if let Err(error) = &result
            && self.usable().is_ok()
        {
            self.send(Tag::Error, error.to_string().as_bytes())?;
            self.flush()?;
        }
        result
    }

    /// Tells the other end how far receiving is, together with the next question: whatever is sent
    /// while nobody reads could end with both ends waiting for each other.
    pub fn note_progress(&self, progress: Progress) {
        *lock(&self.progress) = Some(progress);
    }
}

/// What came from the other end before a hello, and whether one came then.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Foreword {
    /// What came, fit to be printed, on one line.
    pub text: String,
    /// A hello came after it.
    pub hello: bool,
}

impl Foreword {
    /// Takes apart the first bytes from the other end; `None` when nothing that can be shown is before the hello.
    pub fn of(first: &[u8]) -> Option<Foreword> {
        let magic = MAGIC.as_bytes();
        let marks = first.windows(magic.len()).enumerate();
        // Five bytes of every frame come before what it says.
        let mut hellos = marks.filter(|(at, window)| {
            *window == magic && *at >= 5 && first[at - 5] == Tag::Hello as u8
        });
        let hello = hellos.next().map(|(at, _)| at - 5);
        let before = &first[..hello.unwrap_or(first.len())];
        let spaced: Vec<u8> = before
            .iter()
            .map(|b| if b.is_ascii_whitespace() { b' ' } else { *b })
            .collect();
        let text = clean(&spaced);
        let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
        let text: String = words.join(" ").chars().take(300).collect();
        let hello = hello.is_some();
        (!text.is_empty()).then_some(Foreword { text, hello })
    }
}

/// What other people's programs say, fit to be printed.
fn clean(text: &[u8]) -> String {
    String::from_utf8_lossy(text)
        .chars()
        .filter(|c| {
            !c.is_control() && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        })
        .take(1000)
        .collect()
}

fn closed(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
            "the connection broke off".into()
        }
        _ => error.to_string(),
    }
}

impl Source for Wire {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn fetch(
        &self,
        wanted: &[Hash],
        take: &mut dyn FnMut(Object) -> Result<(), TransferError>,
    ) -> Result<(), TransferError> {
        let mut batches = wanted.chunks(BATCH);
        let mut open = 0;
        loop {
            while open < AHEAD
                && let Some(batch) = batches.next()
            {
                if let Some(progress) = lock(&self.progress).take() {
                    self.send(Tag::Progress, &codec::encode(&counts(progress)))?;
                }
                let hashes: Vec<u8> = batch.iter().flat_map(|h| *h.as_bytes()).collect();
                self.send(Tag::Get, &hashes)?;
                open += 1;
            }
            if open == 0 {
                return Ok(());
            }
            self.flush()?;
            loop {
                match self.next_frame()? {
                    (Tag::Object, record) => {
                        let object = Object::from_record(&record).ok_or_else(|| self.nonsense())?;
                        if let Err(error) = take(object) {
                            // What was asked for would still come: nothing else can be asked.
                            self.fail("the copy was broken off");
                            return Err(error);
                        }
                    }
                    (Tag::End, _) => break,
                    _ => return Err(self.nonsense()),
                }
            }
            open -= 1;
        }
    }
}

impl Peer for Wire {
    fn facts(&self, ask: &Ask, believe: &Believe<'_>) -> Result<Vec<Fact>, TransferError> {
        self.send(Tag::Ask, &codec::encode(&(&ask.keys, &ask.drvs)))?;
        self.flush()?;
        let mut facts = Vec::new();
        let mut came = 0;
        loop {
            match self.next_frame()? {
                (Tag::Fact, bytes) => {
                    came += 1;
                    if came > ask.keys.len() + ask.drvs.len() {
                        return Err(self.nonsense());
                    }
                    let fact = Fact::decode(&bytes).map_err(|e| self.fail(e.to_string()))?;
                    facts.extend(believe(fact));
                }
                (Tag::End, _) => return Ok(facts),
                _ => return Err(self.nonsense()),
            }
        }
    }

    fn offer(&self, trees: &[TreeHash]) -> Result<Vec<Option<Offer>>, TransferError> {
        self.send(Tag::Offer, &codec::encode(&trees))?;
        self.flush()?;
        let (Tag::Offered, bytes) = self.next_frame()? else {
            return Err(self.nonsense());
        };
        let offers: Vec<bool> = codec::decode(&bytes, MAX_FRAME).map_err(|_| self.nonsense())?;
        if offers.len() != trees.len() {
            return Err(self.nonsense());
        }
        let offers = offers.into_iter();
        Ok(offers.map(|here| here.then(Offer::default)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_before_a_hello_is_told_apart_from_it() {
        let hello = b"\x01\x0e\0\0\0mstore wire 1\n";
        let of = |bytes: &[u8]| Foreword::of(bytes).map(|f| (f.text, f.hello));
        assert_eq!(of(hello), None);
        assert_eq!(of(b""), None);
        assert_eq!(of(b"\r\n\x07"), None);
        let both = [&b"Welcome\r\n  to \x1b[1mb\n"[..], hello].concat();
        assert_eq!(of(&both), Some(("Welcome to [1mb".into(), true)));
        assert_eq!(
            of(b"mstore wire 1\n"),
            Some(("mstore wire 1".into(), false))
        );
        assert_eq!(of(&[b'a'; 999]).unwrap().0.len(), 300);
    }
}

/// For the fuzz targets: reads frames as long as they are good. Each has the same bytes when it is sent
/// on, and so has what is in it.
#[cfg(feature = "fuzzing")]
pub fn frames(bytes: &[u8]) {
    #[derive(Clone, Default)]
    struct Sent(std::sync::Arc<Mutex<Vec<u8>>>);
    impl Write for Sent {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            lock(&self.0).extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    fn same<T: serde::Serialize + serde::de::DeserializeOwned>(payload: &[u8]) {
        if let Ok(value) = codec::decode::<T>(payload, MAX_FRAME) {
            assert_eq!(codec::encode(&value), payload);
        }
    }
    let sent = Sent::default();
    let wire = Wire {
        name: "fuzz".into(),
        read: Mutex::new(Box::new(io::Cursor::new(bytes.to_vec()))),
        write: Mutex::new(Box::new(sent.clone())),
        broken: Mutex::default(),
        progress: Mutex::default(),
    };
    let mut rest = bytes;
    while let Ok(Some((tag, payload))) = wire.receive() {
        assert!(wire.send(tag, &payload).is_ok());
        let again = std::mem::take(&mut *lock(&sent.0));
        rest = rest
            .strip_prefix(&again[..])
            .expect("a frame that is sent on has the bytes that came");
        match tag {
            Tag::Ask => same::<(Vec<Hash>, Vec<Hash>)>(&payload),
            Tag::Offer => same::<Vec<TreeHash>>(&payload),
            Tag::Offered => same::<Vec<bool>>(&payload),
            Tag::Push => same::<(Vec<TreeHash>, Option<String>, bool, bool)>(&payload),
            Tag::Progress | Tag::Done => same::<Counts>(&payload),
            Tag::Object => mstore_store::fuzzing::record(&payload),
            Tag::Error => assert!(!clean(&payload).chars().any(char::is_control)),
            Tag::Fact => {
                if let Ok(fact) = Fact::decode(&payload) {
                    assert_eq!(fact.encode(), payload);
                }
            }
            Tag::Hello | Tag::Get | Tag::End => {}
        }
    }
}
