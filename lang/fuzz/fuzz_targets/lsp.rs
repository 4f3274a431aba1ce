//! Whatever an editor says, each request gets one answer, and edits come to the text that the editor has.
//!
//! Behind the files of the other targets, `NUL @ LF` begins the conversation: six bytes for each message. The
//! server is the real one, with files in memory in the place of the disk.

#![no_main]

use libfuzzer_sys::fuzz_target;

mod lsp {
    #[path = "../../../../src/cli/commands/lsp/convert.rs"]
    mod convert;
    pub mod drive;
    mod host;
    mod model;
    #[path = "../../../../src/cli/commands/lsp/params.rs"]
    mod params;
    #[allow(dead_code)] // How a conversation ends matters to the stream around it alone.
    #[path = "../../../../src/cli/commands/lsp/server.rs"]
    mod server;
    #[path = "../../../../src/cli/commands/lsp/uri.rs"]
    mod uri;
    #[path = "../../../../src/cli/commands/lsp/wire.rs"]
    mod wire;
}

fuzz_target!(|bytes: &[u8]| lsp::drive::converse(bytes));
