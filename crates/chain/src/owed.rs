//! What an account may claim and what still vests, which the pallet answers as a view function: a read
//! that the metadata describes, beside `IotaApi`.

use codec::{Decode, Encode};
use iota_protocol::ids::AccountKey;
use iota_protocol::view::OwedView;

use crate::block::timed;
use crate::client::{Chain, ChainError};

/// The runtime API behind all view functions.
const EXECUTE: &str = "RuntimeViewFunction_execute_view_function";
/// A view function's answer is a result; this is the index of success.
const SUCCESS: u8 = 0;

impl Chain {
    /// What an account may claim now, what will be its own, and from which member; at the newest
    /// finalized block.
    ///
    /// # Errors
    /// See [`ChainError`].
    pub async fn holdings(&self, account: AccountKey) -> Result<OwedView, ChainError> {
        let what = || "reading what the account is owed".to_owned();
        let failed = |reason: String| ChainError::Request { what: what(), reason };
        let connection = self.connection().await;
        let at = self.at_finalized().await?.head();
        let client = connection.client.at_current_block().await.map_err(|error| failed(error.to_string()))?;
        let metadata = client.metadata_ref();
        let function =
            metadata.pallet_by_name("Iota").and_then(|pallet| pallet.view_function_by_name("owed"));
        let id =
            *function.ok_or_else(|| failed("the chain has no view function Iota.owed".into()))?.query_id();
        let input = (id, account.encode()).encode();
        let call = async {
            let answer = connection.rpc.state_call(EXECUTE, Some(&input), Some(at.hash.0.into())).await;
            answer.map_err(|error| error.to_string())
        };
        let answer = timed(what(), call).await?;
        let len = answer.len();
        let broken = || ChainError::Decode { what: what(), len };
        let (status, inner) = answer.split_first().ok_or_else(broken)?;
        if *status != SUCCESS {
            return Err(failed("the chain refused the view function".into()));
        }
        let view = Vec::<u8>::decode(&mut &*inner).map_err(|_| broken())?;
        OwedView::decode(&mut view.as_slice()).map_err(|_| broken())
    }
}
