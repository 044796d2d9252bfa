//! Steps that are being carried out, by the key under which their results will be found: one that two
//! builds want at once is done once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use oci::Digest;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::Error;
use crate::output::Output;
use crate::tell::Listeners;

/// How a step ended.
pub(crate) type Outcome = Result<Output, Arc<Error>>;

/// All steps of one process.
#[derive(Debug, Default)]
pub(crate) struct Jobs(Mutex<HashMap<Digest, Weak<Job>>>);

/// One step. When nobody waits for it any more it is given up.
#[derive(Debug)]
pub(crate) struct Job {
    outcome: watch::Receiver<Option<Outcome>>,
    pub(crate) listeners: Listeners,
    task: AbortHandle,
}

impl Drop for Job {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Jobs {
    /// The step of this key: one that is being carried out, or a new one, which `work` begins. With
    /// whether it is new.
    pub(crate) fn join<F>(
        &self,
        key: &Digest,
        work: impl FnOnce(Listeners) -> F,
    ) -> (Arc<Job>, bool)
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let mut jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(job) = jobs.get(key).and_then(Weak::upgrade)
            && job.outcome.borrow().is_none()
        {
            return (job, false);
        }
        let listeners = Listeners::default();
        let (sender, outcome) = watch::channel(None);
        let working = work(listeners.clone());
        let task = tokio::spawn(async move {
            let outcome = working.await;
            sender.send_replace(Some(outcome));
        });
        let job = Arc::new(Job { outcome, listeners, task: task.abort_handle() });
        jobs.retain(|_, job| job.strong_count() > 0);
        jobs.insert(key.clone(), Arc::downgrade(&job));
        (job, true)
    }
}

impl Job {
    /// Waits for its end.
    pub(crate) async fn outcome(&self) -> Outcome {
        let mut outcome = self.outcome.clone();
        match outcome.wait_for(Option::is_some).await {
            Ok(outcome) => {
                outcome.clone().unwrap_or_else(|| Err(Arc::new(Error::Lost("a step of the build"))))
            }
            Err(_) => Err(Arc::new(Error::Lost("a step of the build"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::sync::Notify;

    use super::*;

    fn key() -> Digest {
        Digest::sha256(b"key")
    }

    #[tokio::test]
    async fn two_that_want_the_same_wait_for_one() {
        let jobs = Jobs::default();
        let (done, count) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let work = |done: Arc<Notify>, count: Arc<AtomicUsize>| {
            move |_| async move {
                count.fetch_add(1, Ordering::Relaxed);
                done.notified().await;
                Ok(Output::Layers(vec![]))
            }
        };
        let (one, is_new) = jobs.join(&key(), work(Arc::clone(&done), Arc::clone(&count)));
        assert!(is_new);
        tokio::task::yield_now().await;
        let (two, is_new) = jobs.join(&key(), work(Arc::clone(&done), Arc::clone(&count)));
        assert!(!is_new);
        drop(one);
        done.notify_one();
        assert!(two.outcome().await.is_ok());
        assert_eq!(count.load(Ordering::Relaxed), 1);
        // One that has ended is looked for in the cache, not here.
        let (_, is_new) = jobs.join(&key(), |_| async { Ok(Output::Layers(vec![])) });
        assert!(is_new);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_given_up() {
        let jobs = Jobs::default();
        let guard = Arc::new(());
        let held = Arc::clone(&guard);
        let (job, _) = jobs.join(&key(), |_| async move {
            std::future::pending::<()>().await;
            drop(held);
            Ok(Output::Layers(vec![]))
        });
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&guard), 2);
        drop(job);
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            if Arc::strong_count(&guard) == 1 {
                return;
            }
        }
        panic!("it goes on");
    }
}
