//! Plain requests to the explorer, one connection each.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Far longer than an answer takes; a server that hangs fails the test.
const PATIENCE: Duration = Duration::from_secs(30);

/// Status and body.
///
/// # Errors
/// When there is no whole answer, in words.
pub async fn get(address: &str, path: &str) -> Result<(u16, String), String> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await?;
        Ok::<_, std::io::Error>(bytes)
    };
    let bytes = tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| format!("{path}: no answer"))?;
    let text = String::from_utf8_lossy(&bytes.map_err(|error| format!("{path}: {error}"))?).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| format!("{path}: no whole answer"))?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.ok_or_else(|| format!("{path}: no status in {head}"))?, body.to_owned()))
}

/// The body of an answer with status 200, read as JSON.
///
/// # Errors
/// When there is none, in words.
pub async fn json(address: &str, path: &str) -> Result<serde_json::Value, String> {
    let (status, body) = get(address, path).await?;
    if status != 200 {
        return Err(format!("{path}: {status} {body}"));
    }
    serde_json::from_str(&body).map_err(|error| format!("{path}: {error}: {body}"))
}
