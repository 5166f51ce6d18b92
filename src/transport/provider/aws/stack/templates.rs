//! Templates of stacks, and the bucket for those that are too large for a call.

use super::{Client, change, is_gone};
use crate::base::checksum::sha256;
use crate::base::error::{Error, Result};
use crate::base::event::Cx;
use aws_sdk_cloudformation::types::TemplateStage;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ServerSideEncryption;

/// Returns the template a stack has, as it was given; none when there is no stack, or it has none yet.
pub async fn of(client: &Client, stack: &str, cx: &Cx) -> Result<Option<String>> {
    let request = client.stacks.get_template().stack_name(stack).template_stage(TemplateStage::Original);
    match client.read("cloudformation:GetTemplate", cx, request.send()).await {
        Err(trouble) if trouble.is(is_gone) => Ok(None),
        other => Ok(other?.template_body),
    }
}

/// Puts a template into the bucket, unless it is there. Returns its address. The name is of its content: nothing is overwritten.
pub async fn upload(client: &Client, bucket: &str, stack: &str, template: &str, cx: &Cx) -> Result<String> {
    let key = format!("opsrun/templates/{stack}/{}.yaml", sha256(template));
    let url = match &client.endpoint_url {
        None => format!("https://{bucket}.s3.{}.{}/{key}", client.region, domain(&client.region)),
        Some(endpoint) => format!("{}/{bucket}/{key}", endpoint.trim_end_matches('/')),
    };
    let story = |error: Error| error.context(format!("putting the template into bucket {bucket}"));
    let request = client.buckets.head_object().bucket(bucket).key(&key);
    match client.read("s3:HeadObject", cx, request.send()).await {
        Ok(_) => return Ok(url),
        // Who may not list a bucket is told 403 of what is not there.
        Err(trouble) if trouble.is(|f| f.is_absent() || f.is_denied() || f.code.starts_with("AuthFailure")) => {}
        Err(trouble) => return Err(story(trouble.into())),
    }
    let request = client.buckets.put_object().bucket(bucket).key(&key).body(ByteStream::from(template.as_bytes().to_vec()));
    let request = request.content_type("application/yaml").server_side_encryption(ServerSideEncryption::Aes256);
    match change("s3:PutObject", cx, request.send()).await {
        Err(trouble) if trouble.is(|f| f.is("NoSuchBucket")) => Err(Error::config(format!("there is no bucket {bucket}"))
            .hint("It is the `bucket:` of the environment, for templates that are too large for a call: make it first.")
            .hint(format!("aws s3 mb s3://{bucket} --region {}", client.region))),
        Err(trouble) => Err(story(trouble.into())),
        Ok(_) => Ok(url),
    }
}

fn domain(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}
