//! Checkpoints as files: a line that the library gives, and, when it is signed, a second one with
//! the signature.
//!
//! What is signed is the first line with its line feed, so that other tools can check it, too.

use std::fs;
use std::path::Path;

use ed25519_compact::{KeyPair, PublicKey, Seed, Signature};
use runledger::{Checkpoint, Json};
use serde::{Deserialize, Serialize};

use crate::exit::Failure;

/// The second line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    ed25519_public_key: String,
    signature: String,
}

/// A checkpoint that was read, and who has signed it.
pub(crate) struct Signed {
    pub(crate) checkpoint: Checkpoint,
    /// The public key in hexadecimal whose signature holds; none when there is no signature.
    pub(crate) signed_by: Option<String>,
}

/// The checkpoint as a file.
///
/// # Errors
/// When the key cannot be read or is none.
pub(crate) fn write(checkpoint: &Checkpoint, key: Option<&Path>) -> Result<String, Failure> {
    let mut text = format!("{checkpoint}\n");
    if let Some(path) = key {
        let pair = key_pair(path)?;
        let line = Line {
            ed25519_public_key: hex(pair.pk.as_ref()),
            signature: hex(pair.sk.sign(&text, None).as_ref()),
        };
        text.push_str(Json::from_value(&line)?.as_str());
        text.push('\n');
    }
    Ok(text)
}

/// Reads such a file. With `key` it must be signed by that.
///
/// # Errors
/// When it is no checkpoint, or its signature does not hold or is another's. That is no damage of
/// the ledger: nothing was compared with it.
pub(crate) fn read(path: &Path, key: Option<&str>) -> Result<Signed, Failure> {
    let text = fs::read_to_string(path).map_err(|err| Failure::io("read", path, err))?;
    let refused = |what: &str| Failure::Usage(format!("{}: {what}", path.display()));
    let end = text.find('\n').map_or(text.len(), |at| at + 1);
    let (line, rest) = text.split_at_checked(end).unwrap_or((&text, ""));
    let checkpoint: Checkpoint =
        line.trim_end().parse().map_err(|err: runledger::Error| refused(&err.to_string()))?;
    let wanted = key.map(public_key).transpose()?;
    if rest.trim().is_empty() {
        return match wanted {
            None => Ok(Signed { checkpoint, signed_by: None }),
            Some(_) => Err(refused("the checkpoint is not signed")),
        };
    }
    let no_signature = || refused("its second line is no signature");
    let json = Json::parse(rest.trim()).map_err(|_| no_signature())?;
    let signature: Line = json.to_value().map_err(|_| no_signature())?;
    let bytes = unhex(&signature.signature).ok_or_else(no_signature)?;
    let bytes = Signature::from_slice(&bytes).map_err(|_| no_signature())?;
    let signer = in_hex(&signature.ed25519_public_key).ok_or_else(no_signature)?;
    if signer.verify(line, &bytes).is_err() {
        return Err(refused("its signature does not hold: it was changed since it was signed"));
    }
    if wanted.is_some_and(|wanted| wanted != signer) {
        return Err(refused("it was signed by another key"));
    }
    Ok(Signed { checkpoint, signed_by: Some(hex(signer.as_ref())) })
}

/// A private key: PEM as openssl writes it, or a seed of 32 bytes in hexadecimal.
fn key_pair(path: &Path) -> Result<KeyPair, Failure> {
    let text = fs::read_to_string(path).map_err(|err| Failure::io("read", path, err))?;
    let seed = || Seed::from_slice(&unhex(text.trim())?).ok();
    let pair = KeyPair::from_pem(&text).ok();
    pair.or_else(|| KeyPair::try_from_seed(seed()?).ok()).ok_or_else(|| {
        let expected = "expected a private key of `openssl genpkey -algorithm ed25519`, or 32 \
                        bytes in hexadecimal";
        Failure::Usage(format!("{} is no key: {expected}", path.display()))
    })
}

/// A public key: 32 bytes in hexadecimal, or the name of a file with them or with PEM.
fn public_key(given: &str) -> Result<PublicKey, Failure> {
    if let Some(key) = in_hex(given) {
        return Ok(key);
    }
    let path = Path::new(given);
    let text = fs::read_to_string(path).map_err(|err| Failure::io("read", path, err))?;
    in_hex(&text).or_else(|| PublicKey::from_pem(&text).ok()).ok_or_else(|| {
        let expected = "expected 32 bytes in hexadecimal, or a file of `openssl pkey -pubout`";
        Failure::Usage(format!("{given} is no public key: {expected}"))
    })
}

fn in_hex(text: &str) -> Option<PublicKey> {
    PublicKey::from_slice(&unhex(text.trim())?).ok()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A String takes everything.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok())
        .collect()
}
