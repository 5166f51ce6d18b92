use super::{File, Template};
use crate::base::error::Error;

fn file(name: &str, text: &str) -> File {
    File { name: name.to_owned(), text: text.to_owned() }
}

fn template(text: &str) -> Result<Template, Error> {
    Template::new(&[file("a.yml", text)])
}

fn refused(text: &str) -> String {
    words(&template(text).unwrap_err())
}

fn words(error: &Error) -> String {
    let details = error.details();
    let places = details.places.iter().map(|p| format!(" [{}:{}]", p.file, p.line));
    let hints = details.hints.iter().map(|h| format!("\n{h}"));
    std::iter::once(error.message().to_owned()).chain(places).chain(hints).collect()
}

const NETWORK: &str = "\
AWSTemplateFormatVersion: 2010-09-09
Description: The network.
Parameters:
  Env: { Type: String }
Resources:
  Vpc:
    Type: AWS::EC2::VPC
    Properties:
      CidrBlock: 10.0.0.0/16
      Tags: [{ Key: Env, Value: !Ref Env }]
";

#[test]
fn files_become_one_template() {
    let web = "\
Description: The web heads.
Parameters:
  Env: { Type: String }
Conditions:
  Large: !Equals [!Ref Env, \"production\"]
Resources:
  Web:
    Type: AWS::EC2::SecurityGroup
    DependsOn: Vpc
    Properties:
      GroupDescription: !Sub '${AWS::StackName} web in ${Vpc.CidrBlock}: \"in\"'
      VpcId: !Ref Vpc
      Zone: !Select [0, !GetAZs '']
      Size: !If [Large, 2, !Ref AWS::NoValue]
      Script: |
        #!/bin/sh
        echo ${!HOME}
Outputs:
  Web:
    Value: !GetAtt Web.GroupId
    Export:
      Name: !Sub ['${Env}-${What}', { What: web }]
";
    let made = Template::new(&[file("network.yml", NETWORK), file("web.yml", web)]).unwrap();
    let yaml = made.to_yaml().unwrap();
    // The writer leaves a blank between a tag and what stands below it.
    let tidy = yaml.replace(" \n", "\n");
    assert_eq!(
        tidy,
        "\
AWSTemplateFormatVersion: 2010-09-09
Description: The network. The web heads.
Parameters:
  Env:
    Type: String
Conditions:
  Large: !Equals
    - !Ref Env
    - \"production\"
Resources:
  Vpc:
    Type: AWS::EC2::VPC
    Properties:
      CidrBlock: 10.0.0.0/16
      Tags:
        - Key: Env
          Value: !Ref Env
  Web:
    Type: AWS::EC2::SecurityGroup
    DependsOn: Vpc
    Properties:
      GroupDescription: !Sub \"${AWS::StackName} web in ${Vpc.CidrBlock}: \\\"in\\\"\"
      VpcId: !Ref Vpc
      Zone: !Select
        - 0
        - !GetAZs \"\"
      Size: !If
        - Large
        - 2
        - !Ref AWS::NoValue
      Script: |
        #!/bin/sh
        echo ${!HOME}
Outputs:
  Web:
    Value: !GetAtt Web.GroupId
    Export:
      Name: !Sub
        - \"${Env}-${What}\"
        - What: web
"
    );
    // What is written reads as what it was made from.
    assert_eq!(template(&yaml).unwrap().to_yaml().unwrap(), yaml);
    assert_eq!(made.required_parameters().collect::<Vec<_>>(), ["Env"]);
}

#[test]
fn hidden_defaults_are_stars_for_people() {
    let text = "Parameters:\n  Word: { Type: String, NoEcho: true, Default: hunter2 }\n  Size: { Type: Number, Default: 2 }\nResources:\n  \
                Topic: { Type: AWS::SNS::Topic, Properties: { TopicName: !Ref Word, DisplayName: !Ref Size } }\n";
    let shown = super::shown(text).unwrap();
    assert!(!shown.contains("hunter2") && shown.contains("***") && shown.contains("Default: 2"), "{shown}");
    let made = template(text).unwrap();
    assert_eq!(made.to_shown_yaml().unwrap(), shown);
    assert!(made.to_yaml().unwrap().contains("hunter2"), "AWS gets it whole");
}

#[test]
fn clashes_name_both_files_and_lines() {
    let twice = Template::new(&[file("a.yml", NETWORK), file("b.yml", "Resources:\n  Vpc: { Type: AWS::EC2::VPC }\n")]);
    assert_eq!(
        words(&twice.unwrap_err()),
        "Resources: `Vpc` is in a.yml:6 and in b.yml:2 [b.yml:2]\nGive one of them another name: a logical ID is unique in the whole template."
    );
    let other = Template::new(&[file("a.yml", NETWORK), file("b.yml", "Parameters:\n  Env: { Type: Number }\n")]);
    assert!(words(&other.unwrap_err()).starts_with("Parameters: `Env` is in a.yml:4 and in b.yml:2 [b.yml:2]"));
    let both = refused(
        "Parameters:\n  Vpc: { Type: String }\nResources:\n  Vpc: { Type: AWS::EC2::VPC }\n  Other: { Type: 'X::Y::Z', Properties: { A: !Ref Vpc } }\n",
    );
    assert!(both.starts_with("`Vpc` is a resource here, and a parameter in a.yml:2 [a.yml:4]"), "{both}");
}

#[test]
fn references_lead_somewhere() {
    let resource = |body: &str| format!("Resources:\n  Vpc: {{ Type: AWS::EC2::VPC }}\n  A:\n    Type: X::Y::Z\n    {body}\n");
    for (body, expected) in [
        ("Properties: { B: !Ref Vcp }", "there is no parameter or resource `Vcp` [a.yml:5]\nDid you mean \"Vpc\"?"),
        ("Properties: { B: !GetAtt Vpcs.Id }", "there is no resource `Vpcs` [a.yml:5]\nDid you mean \"Vpc\"?"),
        ("Properties: { B: { 'Fn::GetAtt': [Vpcs, Id] } }", "there is no resource `Vpcs` [a.yml:5]\nDid you mean \"Vpc\"?"),
        ("Properties: { B: !Sub '${Vpcc}' }", "there is no parameter or resource `Vpcc` [a.yml:5]\nDid you mean \"Vpc\"?"),
        (
            "Properties: { B: !Ref 'AWS::Regin' }",
            "there is no name of AWS's `AWS::Regin` [a.yml:5]\nDid you mean \"AWS::Region\"?",
        ),
        ("DependsOn: [Vpc, Bus]", "there is no resource `Bus` [a.yml:5]\nThere is: Vpc, A."),
        ("Condition: Big", "there is no condition `Big` [a.yml:5]"),
        ("Properties: { B: !If [Big, 1, 2] }", "there is no condition `Big` [a.yml:5]"),
        ("Properties: { B: !FindInMap [Sizes, a, b] }", "there is no mapping `Sizes` [a.yml:5]"),
        ("Properties: { B: !Reff Vpc }", "there is no function !Reff [a.yml:5]\nDid you mean \"Ref\"?"),
        ("Properties: { B: !GetAtt Vpc }", "!GetAtt takes Resource.Attribute, not the text \"Vpc\" [a.yml:5]"),
        ("Propertis: { B: 1 }", "resource `A` has an unknown key `Propertis` [a.yml:5]\nDid you mean \"Properties\"?"),
    ] {
        assert_eq!(refused(&resource(body)), expected, "{body}");
    }
    // A policy's own `Condition` is none of the template's.
    template(&resource("Properties: { Statement: [{ Condition: { Bool: { a: b } } }] }")).unwrap();
    assert!(
        refused("Resources:\n  A:\n    Type: X::Y::Z\n    Properties: { B: !Sub 'a ${Vpc' }\n")
            .contains("a ${ in this !Sub is never closed")
    );
    assert!(
        refused("Parameters:\n  P: { Type: String }\nResources:\n  A: { Type: X::Y::Z }\n")
            .starts_with("nothing uses parameter `P` [a.yml:2]")
    );
    assert!(
        refused("Resorces:\n  A: { Type: X::Y::Z }\n")
            .starts_with("`Resorces` is no section of a template [a.yml:1]\nDid you mean \"Resources\"?")
    );
    assert!(refused("Resources:\n  A-b: { Type: X::Y::Z }\n").starts_with("\"A-b\" cannot be a name in Resources [a.yml:2]"));
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let both = refused("Resources:\n  A:\n    Type: X::Y::Z\n    Properties: [!Ref B, !Ref C]\n");
    assert_eq!(
        both,
        "there is no parameter or resource `B` [a.yml:4]\nThere is: A.\nAlso: a.yml:4: there is no parameter or resource `C`"
    );
}

#[test]
fn circles_are_shown() {
    let ring = "\
Resources:
  A:
    Type: X::Y::Z
    Properties: { B: !GetAtt B.Id }
  B:
    Type: X::Y::Z
    DependsOn: C
  C:
    Type: X::Y::Z
    Properties: { A: !Sub 'x${A}' }
";
    assert_eq!(
        refused(ring),
        "resources need each other in a circle: A → B → C → A [a.yml:2]\nA needs B in a.yml:4\nB needs C in a.yml:7\nC needs A in a.yml:10"
    );
}

#[test]
fn data_says_what_becomes_of_it() {
    let said = refused("Resources:\n  Db:\n    Type: AWS::RDS::DBInstance\n    DeletionPolicy: Snapshot\n");
    assert!(said.starts_with("`Db` (AWS::RDS::DBInstance) holds data, and says no UpdateReplacePolicy [a.yml:2]"), "{said}");
    let odd =
        refused("Resources:\n  B:\n    Type: AWS::S3::Bucket\n    DeletionPolicy: Snapshot\n    UpdateReplacePolicy: Retain\n");
    assert!(odd.contains("DeletionPolicy cannot be the text \"Snapshot\""), "{odd}");
}

#[test]
fn limits_are_known_before_any_call() {
    let many: String = (0..501).map(|i| format!("  R{i}: {{ Type: X::Y::Z }}\n")).collect();
    assert!(refused(&format!("Resources:\n{many}")).starts_with("501 Resources, and AWS takes no more than 500"));
}

#[test]
fn what_must_be_agreed_to_is_known() {
    let role = |name: &str| format!("Resources:\n  R:\n    Type: AWS::IAM::Role\n    Properties: {{ {name} }}\n");
    let of = |text: &str| template(text).unwrap().capabilities();
    assert_eq!(of(&role("Path: /")), [("CAPABILITY_IAM", "R".to_owned())]);
    assert_eq!(of(&role("RoleName: x")), [("CAPABILITY_NAMED_IAM", "R".to_owned())]);
    assert_eq!(of("Transform: Macro\nResources:\n  A: { Type: X::Y::Z }\n")[0].0, "CAPABILITY_AUTO_EXPAND");
    assert!(of("Resources:\n  A: { Type: X::Y::Z }\n").is_empty());
}
