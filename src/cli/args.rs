//! Arguments that several commands take.

use super::Failure;
use crate::config;
use crate::drv::NodeName;
use crate::project::Retention;

/// What gc keeps; the configuration file has the same, and these win.
#[derive(clap::Args, Default)]
pub struct RetentionArgs {
    /// Keep the newest N trees of each target [default: 3]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    keep: Option<usize>,
    /// Also keep everything built in the last DAYS days
    #[arg(long, value_name = "DAYS", allow_negative_numbers = true)]
    keep_days: Option<u32>,
    /// Make the store no larger than this, such as 500M or 20G: what was used longest ago goes first
    #[arg(long, value_name = "SIZE", value_parser = config::size, allow_negative_numbers = true)]
    max_size: Option<u64>,
}

impl RetentionArgs {
    /// The answer to these options.
    pub fn retention(&self) -> Retention {
        Retention {
            keep: self.keep,
            keep_days: self.keep_days,
            max_size: self.max_size,
        }
    }
}

/// Reads `TARGET` or `TARGET:STEP`.
pub fn node_name(word: &str) -> Result<NodeName, Failure> {
    word.parse::<NodeName>().map_err(Failure::usage)
}

/// Splits `TREE:PATH` into its two parts; without a path it is the top of the tree.
pub fn tree_and_path(word: &str) -> (&str, &str) {
    word.split_once(':').unwrap_or((word, ""))
}
