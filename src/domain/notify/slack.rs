//! An incoming webhook of Slack, or of one of the many that understand the same.

use super::{DEADLINE, Message};
use crate::base::error::{Error, Kind, Result};
use crate::base::event::Cx;
use crate::base::secret::Secret;
use crate::domain::http::{self, Body, Request};
use reqwest::Method;
use serde_json::json;

/// Slack cuts texts at 40,000; nobody reads that many.
const LONGEST: usize = 3000;

pub async fn send(url: &Secret, message: &Message, cx: &Cx) -> Result<()> {
    let mut request = Request::new(Method::POST, url.expose());
    request.name = Some("the webhook".to_owned());
    request.body = Body::Json(json!({ "text": text(message) }));
    request.timeout = DEADLINE;
    http::send(&request, cx).await.map(drop).map_err(|e| match e.kind() {
        // Which address that is must not be seen.
        Kind::Usage => Error::usage("the webhook is not a web address").hint("It looks like https://hooks.slack.com/services/…"),
        _ => e,
    })
}

/// In Slack's own markup.
fn text(message: &Message) -> String {
    let (mark, subject) = (if message.failed() { ":x: " } else { "" }, escaped(message.subject()));
    let body: String = message.text().trim().chars().take(LONGEST).collect();
    // Three backticks would end the block.
    let body = escaped(&body).replace("```", "'''");
    if body.is_empty() { format!("{mark}*{subject}*") } else { format!("{mark}*{subject}*\n```\n{body}\n```") }
}

/// As Slack wants the three characters that mean something to it: else `<!channel>` in an error would wake everybody.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wakes_nobody() {
        let message = Message::new("a <!channel> & b", "said:\n```x```", true);
        assert_eq!(text(&message), ":x: *a &lt;!channel&gt; &amp; b*\n```\nsaid:\n'''x'''\n```");
        assert_eq!(text(&Message::new("done", "", false)), "*done*");
    }
}
