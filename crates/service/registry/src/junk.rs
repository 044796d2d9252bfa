//! No text that a stranger sends breaks what reads it.

use hyper::header::{HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use proptest::prelude::*;

use crate::challenge::challenges;
use crate::url::Url;
use crate::{Credentials, Proxies, base64, retry, server_domain};

/// Text of the characters that mean something somewhere, and others.
const TEXT: &str = "[ -~]{0,80}|([a-z]{1,6}[ =,\"\\\\:/?#@%;<>.-]{1,3}){0,12}";

proptest! {
    #[test]
    fn headers(text in TEXT) {
        let Ok(value) = HeaderValue::from_str(&text) else { return Ok(()) };
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, value.clone());
        headers.append(RETRY_AFTER, value);
        challenges(&headers);
        retry::retry_after(&headers);
    }

    #[test]
    fn addresses(text in TEXT, more in TEXT) {
        if let Ok(url) = Url::parse(&format!("https://{text}")) {
            // What was read once reads the same again.
            let again = Url::parse(&format!("{}{}", url.origin, url.path)).unwrap();
            prop_assert_eq!(&again, &url);
            let joined = url.join(&more);
            prop_assert!(joined.is_err() || joined.unwrap().path.starts_with('/'));
        }
        server_domain(&text);
        let _ = Proxies::from_env(&|_| Some(text.clone()));
    }

    #[test]
    fn base64_goes_there_and_back(bytes in proptest::collection::vec(any::<u8>(), 0..100), text in TEXT) {
        prop_assert_eq!(base64::decode(&base64::encode(&bytes)), Some(bytes));
        base64::decode(&text);
        let _ = Credentials::from_header(&text);
    }
}
