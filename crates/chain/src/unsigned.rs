//! Transactions that nobody signs: what makes them valid stands in the call, and the chain checks it.

use codec::{Compact, Encode};
use subxt::transactions::TransactionStatus;

use crate::calls::Call;
use crate::client::Chain;

/// An extrinsic as it goes over the wire: its length, what stands before the call, the call.
pub(crate) fn framed(head: &[u8], call: &[u8]) -> Vec<u8> {
    let body = [head, call].concat();
    // A call of 4 GiB is no call: the node's limit is a few megabytes, and it refuses the wrong length.
    let mut bytes = Compact(u32::try_from(body.len()).unwrap_or(u32::MAX)).encode();
    bytes.extend(body);
    bytes
}

impl Chain {
    /// Sends a call with `head` before it and waits until a finalized block has it; else why not.
    pub(crate) async fn send_unsigned(&self, call: &Call, head: &[u8]) -> Result<(), String> {
        let connection = self.connection().await;
        let transactions = connection.client.tx().await.map_err(|error| error.to_string())?;
        let data = transactions.call_data(call).map_err(|error| error.to_string())?;
        let request = transactions.from_bytes(framed(head, &data));
        let mut progress = request.submit_and_watch().await.map_err(|error| error.to_string())?;
        while let Some(status) = progress.next().await {
            match status.map_err(|error| error.to_string())? {
                TransactionStatus::InFinalizedBlock(_) => return Ok(()),
                TransactionStatus::Error { message }
                | TransactionStatus::Invalid { message }
                | TransactionStatus::Dropped { message } => return Err(message),
                _ => {}
            }
        }
        Err("the node closed the subscription".into())
    }
}
