//! The one thread in which asynchronous calls are carried out, and how other threads have them carried out.

use std::future::Future;
use std::io;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Handle};
use tokio::sync::{oneshot, watch};

use super::trouble::Trouble;

/// A thread with a runtime, which ends with this.
pub struct Reactor {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Ends what runs for one job. Clones are the same.
#[derive(Clone, Debug)]
pub struct Stop(watch::Sender<bool>);

impl Default for Stop {
    fn default() -> Stop {
        Stop(watch::Sender::new(false))
    }
}

impl Stop {
    /// Ends it; a second call changes nothing.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    /// Whether it was ended.
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow()
    }

    /// Is there when it was ended.
    pub async fn stopped(&self) {
        // Cannot fail: this is a sender.
        let _ = self.0.subscribe().wait_for(|stopped| *stopped).await;
    }
}

/// Something that is carried out.
pub struct Pending<T>(mpsc::Receiver<Result<T, Trouble>>);

impl<T> Pending<T> {
    /// Waits for its end.
    pub fn wait(self) -> Result<T, Trouble> {
        self.0.recv().unwrap_or_else(|_| Err(ended()))
    }
}

/// What is said when the thread itself has ended, which it does not while it is held.
fn ended() -> Trouble {
    Trouble::Disagrees(
        "the thread that speaks with it has ended: this is an error in mstore".to_owned(),
    )
}

impl Reactor {
    /// Starts the thread.
    pub fn start() -> io::Result<Reactor> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("reapi".to_owned())
            .spawn(move || {
                // Ends too when the sender is gone.
                let _ = runtime.block_on(stopped);
            })?;
        Ok(Reactor {
            handle,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Runs something that makes what belongs to the runtime.
    pub fn within<T>(&self, make: impl FnOnce() -> T) -> T {
        let _guard = self.handle.enter();
        make()
    }

    /// Has something carried out, which `stop` ends.
    pub fn spawn<T: Send + 'static>(
        &self,
        stop: &Stop,
        work: impl Future<Output = Result<T, Trouble>> + Send + 'static,
    ) -> Pending<T> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let stop = stop.clone();
        self.handle.spawn(async move {
            let done = tokio::select! {
                biased;
                () = stop.stopped() => Err(Trouble::Cancelled),
                done = work => done,
            };
            // Fails when nobody waits for it.
            let _ = sender.send(done);
        });
        Pending(receiver)
    }

    /// Has something carried out, which `stop` ends, and waits for it.
    pub fn run<T: Send + 'static>(
        &self,
        stop: &Stop,
        work: impl Future<Output = Result<T, Trouble>> + Send + 'static,
    ) -> Result<T, Trouble> {
        self.spawn(stop, work).wait()
    }

    /// Has something carried out that ends itself when it is to, and waits for it. What it tells meanwhile goes to
    /// `hear`, on this thread.
    pub fn attend<E: Send + 'static, T: Send + 'static, F>(
        &self,
        work: impl FnOnce(Teller<E>) -> F,
        hear: &mut dyn FnMut(E) -> Result<(), Trouble>,
    ) -> Result<T, Trouble>
    where
        F: Future<Output = Result<T, Trouble>> + Send + 'static,
    {
        enum Told<E, T> {
            More(E),
            End(Result<T, Trouble>),
        }
        let (sender, receiver) = mpsc::channel::<Told<E, T>>();
        let teller = {
            let sender = sender.clone();
            Teller(Box::new(move |event| {
                let _ = sender.send(Told::More(event));
            }))
        };
        let work = work(teller);
        let task = self.handle.spawn(async move {
            let done = work.await;
            let _ = sender.send(Told::End(done));
        });
        for told in receiver {
            match told {
                Told::More(event) => {
                    if let Err(trouble) = hear(event) {
                        task.abort();
                        return Err(trouble);
                    }
                }
                Told::End(done) => return done,
            }
        }
        Err(ended())
    }
}

/// Tells whoever attends to something what happens.
pub struct Teller<E>(Box<dyn Fn(E) + Send + Sync>);

impl<E> Teller<E> {
    /// Tells it.
    pub fn tell(&self, event: E) {
        (self.0)(event);
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_stopped_ends_and_what_panics_is_no_hang() {
        let reactor = Reactor::start().unwrap();
        let stop = Stop::default();
        let long = async {
            tokio::time::sleep(Duration::from_secs(600)).await;
            Ok(())
        };
        let pending = reactor.spawn(&stop, long);
        stop.stop();
        assert!(matches!(pending.wait(), Err(Trouble::Cancelled)));
        let stop = Stop::default();
        let wrong = reactor.run::<()>(&stop, async { panic!("on purpose") });
        assert!(matches!(wrong, Err(Trouble::Disagrees(_))));
        let mut heard = Vec::new();
        let done = reactor.attend(
            |teller| async move {
                teller.tell(1);
                teller.tell(2);
                Ok("end")
            },
            &mut |n| {
                heard.push(n);
                Ok(())
            },
        );
        assert_eq!((done.unwrap(), heard), ("end", vec![1, 2]));
    }
}
