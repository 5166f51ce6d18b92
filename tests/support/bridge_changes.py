"""Which properties need a new resource, of types that ministack has no table for: it would call every change of them Conditional.

From "Update requires" of https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/
"""

from ministack.services.cloudformation import provisioners

REPLACING = {
    "AWS::AutoScaling::AutoScalingGroup": ("AutoScalingGroupName", "InstanceId"),
    "AWS::CloudFormation::Stack": (),
    "AWS::EC2::InternetGateway": (),
    "AWS::EC2::LaunchTemplate": ("LaunchTemplateName",),
    "AWS::EC2::Route": ("RouteTableId", "DestinationCidrBlock", "DestinationIpv6CidrBlock", "DestinationPrefixListId"),
    "AWS::EC2::RouteTable": ("VpcId",),
    "AWS::EC2::SecurityGroup": ("GroupName", "GroupDescription", "VpcId"),
    "AWS::EC2::Subnet": ("AvailabilityZone", "AvailabilityZoneId", "CidrBlock", "VpcId", "Ipv6Native", "OutpostArn"),
    "AWS::EC2::SubnetRouteTableAssociation": ("RouteTableId", "SubnetId"),
    "AWS::EC2::VPC": ("CidrBlock", "Ipv4IpamPoolId", "Ipv4NetmaskLength"),
    "AWS::EC2::VPCGatewayAttachment": ("VpcId",),
    "AWS::ElasticLoadBalancingV2::Listener": ("LoadBalancerArn",),
}
CONDITIONAL = {"AWS::EC2::VPC": ("InstanceTenancy",)}


def install():
    for kind, names in REPLACING.items():
        provisioners._REPLACING_PROPERTIES.setdefault(kind, names)
    for kind, names in CONDITIONAL.items():
        provisioners._CONDITIONALLY_REPLACING_PROPERTIES.setdefault(kind, names)
