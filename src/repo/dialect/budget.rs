//! Bounds of an evaluation: how long it runs, how much it makes, how deep it goes.

/// Steps that one evaluation may take: reading the file, or one call of `map_build`.
pub const STEPS: u64 = 1_000_000;
/// Bytes that one evaluation may make, live or not.
pub const BYTES: u64 = 64 << 20;
/// How deep expressions, blocks and calls may nest while they run, and values while they are looked through.
pub const DEPTH: u32 = 160;

/// What is left.
#[derive(Clone, Debug)]
pub struct Budget {
    steps: u64,
    bytes: u64,
    depth: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Budget {
            steps: STEPS,
            bytes: BYTES,
            depth: 0,
        }
    }
}

impl Budget {
    /// Pays for `n` steps.
    pub fn steps(&mut self, n: usize) -> Result<(), String> {
        match self.steps.checked_sub(n as u64) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => Err(format!(
                "it goes on for more than {STEPS} steps: it is stopped"
            )),
        }
    }

    /// Pays for one step.
    pub fn step(&mut self) -> Result<(), String> {
        self.steps(1)
    }

    /// Pays for `n` bytes, and the steps that making them takes.
    pub fn bytes(&mut self, n: usize) -> Result<(), String> {
        self.steps(n / 64)?;
        match self.bytes.checked_sub(n as u64) {
            Some(left) => {
                self.bytes = left;
                Ok(())
            }
            None => Err(format!(
                "it makes more than {} MiB: it is stopped",
                BYTES >> 20
            )),
        }
    }

    /// Goes one level down; to be followed by [`Budget::leave`].
    pub fn enter(&mut self) -> Result<(), String> {
        if self.depth >= DEPTH {
            return Err(format!(
                "it nests deeper than {DEPTH} levels: it is stopped"
            ));
        }
        self.depth += 1;
        Ok(())
    }

    /// Comes back from a level.
    pub fn leave(&mut self) {
        self.depth -= 1;
    }
}
