"""The account: clients made once, questions paged, and every refusal of AWS told with what to do about it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore import exceptions as sdk
from botocore.awsrequest import AWSResponse
from botocore.stub import Stubber

from fabfile.errors import ProviderRefused, Several, UsageError
from fabfile.providers.ec2 import api as api_module
from fabfile.providers.ec2.api import Api, at_once, code_of, hint, passing_over, refusal, told
from fabfile.providers.ec2.pace import Pace
from fabfile.settings import Settings
from tests.fakes.ec2_account import error


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Credentials of no account, nothing of this user's, and no question to a metadata service."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)


HERE = Settings(region="eu-central-1")


class Answers:
    """What a client is answered over the wire, one call after the other: (status, code), or the XML of a success."""

    class Body:
        def __init__(self, text: str) -> None:
            self.text = text.encode()

        def stream(self, **_: Any) -> Iterator[bytes]:
            yield self.text

    def __init__(self, client: Any, operation: str, *answers: tuple[int, str]) -> None:
        self.left, self.calls = list(answers), 0
        client.meta.events.register(f"before-send.ec2.{operation}", self.answer)

    def answer(self, request: Any, **_: Any) -> AWSResponse:
        self.calls += 1
        status, said = self.left.pop(0)
        error = f"<Response><Errors><Error><Code>{said}</Code><Message>injected</Message></Error></Errors></Response>"
        return AWSResponse(request.url, status, {}, self.Body(said if status == 200 else error))


NOTHING = (200, "<DescribeInstancesResponse><reservationSet/></DescribeInstancesResponse>")


class TestRegion:
    def test_the_setting_comes_before_the_variable_and_that_before_the_profile(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "config").write_text("[default]\nregion = eu-west-3\n")
        assert Api(Settings()).region == "eu-west-3"
        monkeypatch.setenv("AWS_REGION", "eu-north-1")
        assert Api(Settings()).region == "eu-north-1"
        assert Api(HERE).region == "eu-central-1"

    def test_none_at_all_is_refused_with_what_to_set(self) -> None:
        with pytest.raises(ProviderRefused, match="no region") as refused:
            _ = Api(Settings()).ec2
        assert "region:" in refused.value.hint

    def test_a_wrong_one_is_told_as_such_by_every_command_and_nobody_is_asked(self) -> None:
        with pytest.raises(ProviderRefused, match=r"eu-centrl-1; did you mean eu-central-1\?") as refused:
            _ = Api(Settings(region="eu-centrl-1")).ec2
        assert "AWS_REGION" in refused.value.hint

    def test_a_profile_that_does_not_exist_is_refused(self) -> None:
        with pytest.raises(ProviderRefused, match="nobody") as refused:
            _ = Api(Settings(aws_profile="nobody")).region
        assert "aws_profile" in refused.value.hint


class TestClients:
    def test_each_is_made_once_however_many_threads_ask_for_it(self) -> None:
        api, seen = Api(HERE), []
        threads = [threading.Thread(target=lambda: seen.append(api.ec2)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(seen) == 8
        assert len({id(client) for client in seen}) == 1

    def test_they_are_of_the_region_but_the_price_list(self) -> None:
        api = Api(HERE)
        regions = {client.meta.region_name for client in (api.ec2, api.ec2_once, api.ssm, api.sts, api.quotas)}
        assert regions == {"eu-central-1"}
        assert api.pricing.meta.region_name == "us-east-1"

    def test_throttled_questions_are_asked_again(self) -> None:
        client = Api(HERE).ec2
        wire = Answers(client, "DescribeInstances", *[(503, "RequestLimitExceeded")] * 3, NOTHING)
        client.describe_instances()
        assert wire.calls == 4

    def test_a_launch_is_not_repeated_behind_our_back(self) -> None:
        client = Api(HERE).ec2_once
        wire = Answers(client, "RunInstances", *[(500, "InsufficientInstanceCapacity")] * 3)
        with pytest.raises(sdk.ClientError):
            client.run_instances(ImageId="ami-12345678", MinCount=1, MaxCount=1)
        assert wire.calls == 1

    def test_listing_the_tasks_loads_no_sdk(self) -> None:
        code = (
            "import sys, fabfile.providers.ec2; print([name for name in ('boto3', 'botocore') if name in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"


class TestPace:
    def test_so_many_calls_go_at_once_and_the_others_one_after_the_other(self) -> None:
        now, pauses = [0.0], []
        pace = Pace(3, 2, clock=lambda: now[0], sleep=pauses.append)
        for _ in range(5):
            pace.wait()
        assert pauses == [0.5, 1.0]
        now[0] = 100.0
        pauses.clear()
        for _ in range(4):
            pace.wait()
        assert pauses == [0.5]

    def test_two_host_keys_for_each_of_two_hundred_machines_are_not_refused(self) -> None:
        now = [0.0]

        def sleep(seconds: float) -> None:
            now[0] += seconds

        pace, bucket, seen = Pace(80, 8, clock=lambda: now[0], sleep=sleep), 100.0, 0.0
        for _ in range(400):
            pace.wait()
            bucket, seen = min(100.0, bucket + (now[0] - seen) * 10) - 1, now[0]
            assert bucket >= 0
        assert now[0] < 60


class TestPages:
    def test_all_pages_are_read(self) -> None:
        api = Api(HERE)
        with Stubber(api.ec2) as stub:
            asked = {"Filters": [], "MaxResults": api_module.PAGE}
            stub.add_response("describe_subnets", {"Subnets": [{"SubnetId": "a"}], "NextToken": "more"}, asked)
            stub.add_response("describe_subnets", {"Subnets": [{"SubnetId": "b"}]}, {**asked, "NextToken": "more"})
            assert [one["SubnetId"] for one in api.paged("describe_subnets", "Subnets", Filters=[])] == ["a", "b"]
            stub.assert_no_pending_responses()

    def test_types_come_in_the_largest_pages_that_are_allowed(self) -> None:
        api = Api(HERE)
        with Stubber(api.ec2) as stub:
            stub.add_response("describe_instance_types", {"InstanceTypes": []}, {"MaxResults": 100})
            assert api.paged("describe_instance_types", "InstanceTypes") == []

    def test_with_ids_no_size_is_given_which_ec2_refuses(self) -> None:
        api = Api(HERE)
        with Stubber(api.ec2) as stub:
            stub.add_response("describe_volumes", {"Volumes": []}, {"VolumeIds": ["vol-1"]})
            assert api.paged("describe_volumes", "Volumes", VolumeIds=["vol-1"]) == []

    def test_another_service_pages_as_it_likes(self) -> None:
        api = Api(HERE)
        with Stubber(api.ssm) as stub:
            stub.add_response("get_parameters_by_path", {"Parameters": [{"Name": "a"}]}, {"Path": "/x"})
            assert api.paged("get_parameters_by_path", "Parameters", client=api.ssm, Path="/x") == [{"Name": "a"}]


REFUSALS = {  # what AWS says → what the user is told to look at
    "ExpiredToken": "log in again",
    "RequestExpired": "log in again",
    "AuthFailure": "credentials",
    "InvalidClientTokenId": "credentials",
    "UnauthorizedOperation": "policy",
    "AccessDeniedException": "policy",
    "OptInRequired": "account",
    "RequestLimitExceeded": "wait",
    "ThrottlingException": "wait",
    "InsufficientInstanceCapacity": "machine_type",
    "Unsupported": "zones",
    "SpotMaxPriceTooLow": "spot_price",
    "InsufficientFreeAddressesInSubnet": "subnet",
    "VcpuLimitExceeded": "quota",
    "MaxSpotInstanceCountExceeded": "quota",
    "SecurityGroupLimitExceeded": "quota",
    "InvalidAMIID.NotFound": "image",
    "InvalidAMIID.Malformed": "image",
    "InvalidKeyPair.NotFound": "key_pair",
    "InvalidSubnetID.NotFound": "subnet",
    "InvalidVpcID.NotFound": "vpc",
    "VPCIdNotSpecified": "subnet",
    "InvalidPlacementGroup.Unknown": "placement_group",
    "InvalidInstanceType.NotFound": "invoke types",
    "InvalidInstanceID.NotFound": "invoke status",
    "DependencyViolation": "again in a minute",
    "IncorrectInstanceState": "wait",
    "OperationNotPermitted": "protection",
    "InternalError": "same command again",
    "SomethingThatNobodyKnowsYet": "words above",
}


class TestRefusals:
    @pytest.mark.parametrize(("code", "advice"), REFUSALS.items())
    def test_each_says_what_was_done_what_aws_said_and_what_to_do(self, code: str, advice: str) -> None:
        said = refusal(error(code, message="AWS's own words."), "launching 4 engines")
        assert isinstance(said, ProviderRefused)
        assert said.message.startswith("launching 4 engines was ")
        assert f"AWS's own words ({code})" in said.message
        assert advice in said.hint

    @pytest.mark.parametrize(
        ("raised", "advice"),
        [
            (sdk.NoCredentialsError(), "aws configure"),
            (sdk.PartialCredentialsError(provider="env", cred_var="x"), "aws configure"),
            (sdk.NoRegionError(), "region:"),
            (sdk.ProfileNotFound(profile="x"), "aws_profile"),
            (sdk.UnauthorizedSSOTokenError(), "aws sso login"),
            (sdk.SSOTokenLoadError(error_msg="x"), "aws sso login"),
            (sdk.TokenRetrievalError(provider="sso", error_msg="x"), "aws sso login"),
            (sdk.CredentialRetrievalError(provider="process", error_msg="x"), "log in again"),
            (sdk.InvalidRegionError(region_name="x"), "invoke regions"),
            (sdk.EndpointConnectionError(endpoint_url="https://example.invalid"), "network"),
            (sdk.ConnectTimeoutError(endpoint_url="https://example.invalid"), "network"),
            (sdk.ReadTimeoutError(endpoint_url="https://example.invalid"), "network"),
            (sdk.SSLError(endpoint_url="https://example.invalid", error="x"), "AWS_CA_BUNDLE"),
        ],
    )
    def test_what_fails_on_the_way_to_aws_is_told_as_well(self, raised: Exception, advice: str) -> None:
        with pytest.raises(ProviderRefused) as refused, told("asking who we are"):
            raise raised
        assert advice in refused.value.hint
        assert refused.value.message.startswith("asking who we are ")

    def test_the_part_of_a_refusal_that_only_aws_can_read_is_left_out(self) -> None:
        long = "You are not authorized. Encoded authorization failure message: " + "x" * 800
        assert len(refusal(error("UnauthorizedOperation", message=long), "asking").message) < 100

    def test_no_credentials_at_all_is_told_from_the_real_call(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(ProviderRefused, match="looking") as refused, told("looking"):
            Api(HERE).ec2.describe_instances()
        assert "aws configure" in refused.value.hint

    def test_errors_of_ours_and_bugs_pass_as_they_are(self) -> None:
        with pytest.raises(UsageError, match="mine"), told("doing"):
            raise UsageError("mine")
        with pytest.raises(ZeroDivisionError), told("doing"):
            _ = 1 / 0

    def test_codes_that_do_not_matter_are_passed_over_and_no_others(self) -> None:
        with passing_over("InvalidGroup.NotFound"):
            raise error("InvalidGroup.NotFound")
        with pytest.raises(sdk.ClientError), passing_over("InvalidGroup.NotFound"):
            raise error("DependencyViolation")

    def test_what_fails_in_several_calls_at_once_for_one_reason_is_told_once(self) -> None:
        def work(code: str) -> str:
            if code == "fine":
                return code
            raise refusal(error(code), f"asking for {code}")

        with pytest.raises(ProviderRefused, match="asking for RequestExpired"):
            at_once(["fine", "RequestExpired", "ExpiredToken"], work)
        with pytest.raises(Several) as both:
            at_once(["RequestExpired", "fine", "AuthFailure", "ExpiredToken"], work)
        assert [one.message.split()[2] for one in both.value.failures] == ["RequestExpired", "AuthFailure"]
        assert at_once(["fine"] * 3, work) == ["fine"] * 3

    def test_a_code_is_awss_or_the_name_of_what_never_came_from_there(self) -> None:
        assert code_of(error("Blocked")) == "Blocked"
        assert code_of(sdk.NoRegionError()) == "NoRegionError"
        assert code_of(ValueError()) == ""
        assert hint("Blocked")
