//! What opsrun knows about types of resources.

use super::{child, text, type_of};
use crate::domain::config::tree::Entry;

/// Types that hold data which is gone with them. AWS's own list of types with a `Snapshot` policy, and those that keep
/// what people put into them.
const DATA: [&str; 24] = [
    "AWS::Backup::BackupVault",
    "AWS::Cognito::UserPool",
    "AWS::DocDB::DBCluster",
    "AWS::DynamoDB::GlobalTable",
    "AWS::DynamoDB::Table",
    "AWS::EC2::Volume",
    "AWS::ECR::Repository",
    "AWS::EFS::FileSystem",
    "AWS::ElastiCache::CacheCluster",
    "AWS::ElastiCache::ReplicationGroup",
    "AWS::Elasticsearch::Domain",
    "AWS::FSx::FileSystem",
    "AWS::KMS::Key",
    "AWS::Kinesis::Stream",
    "AWS::MSK::Cluster",
    "AWS::Neptune::DBCluster",
    "AWS::OpenSearchService::Domain",
    "AWS::RDS::DBCluster",
    "AWS::RDS::DBInstance",
    "AWS::Redshift::Cluster",
    "AWS::S3::Bucket",
    "AWS::SecretsManager::Secret",
    "AWS::SSM::Parameter",
    "AWS::Timestream::Table",
];

/// Of those, the ones that AWS can take a snapshot of before it deletes them.
const SNAPSHOT: [&str; 8] = [
    "AWS::DocDB::DBCluster",
    "AWS::EC2::Volume",
    "AWS::ElastiCache::CacheCluster",
    "AWS::ElastiCache::ReplicationGroup",
    "AWS::Neptune::DBCluster",
    "AWS::RDS::DBCluster",
    "AWS::RDS::DBInstance",
    "AWS::Redshift::Cluster",
];

/// The resources that change what somebody may do, with the property that gives one a name of its own.
const IAM: [(&str, &str); 8] = [
    ("AWS::IAM::AccessKey", ""),
    ("AWS::IAM::Group", "GroupName"),
    ("AWS::IAM::InstanceProfile", "InstanceProfileName"),
    ("AWS::IAM::ManagedPolicy", "ManagedPolicyName"),
    ("AWS::IAM::Policy", ""),
    ("AWS::IAM::Role", "RoleName"),
    ("AWS::IAM::User", "UserName"),
    ("AWS::IAM::UserToGroupAddition", ""),
];

/// Whether deleting or replacing a resource of this type loses data.
pub fn is_data_bearing(kind: &str) -> bool {
    DATA.contains(&kind)
}

pub fn can_snapshot(kind: &str) -> bool {
    SNAPSHOT.contains(&kind)
}

/// What becomes of a resource when it is deleted: what it says, or what AWS does where it says nothing.
pub fn deletion_policy(resource: &Entry) -> &str {
    let in_cluster = || child(&resource.value, "Properties").is_some_and(|p| child(p, "DBClusterIdentifier").is_some());
    match (child(&resource.value, "DeletionPolicy").and_then(text), type_of(resource)) {
        (Some(policy), _) => policy,
        (None, "AWS::RDS::DBCluster") => "Snapshot",
        (None, "AWS::RDS::DBInstance") if !in_cluster() => "Snapshot",
        _ => "Delete",
    }
}

pub fn is_iam(kind: &str) -> bool {
    IAM.iter().any(|(name, _)| *name == kind)
}

pub fn is_named_iam(resource: &Entry) -> bool {
    let kind = type_of(resource);
    let Some((_, name)) = IAM.iter().find(|(iam, name)| *iam == kind && !name.is_empty()) else { return false };
    child(&resource.value, "Properties").is_some_and(|p| child(p, name).is_some())
}
