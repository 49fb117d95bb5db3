"""The account: one boto3 client a service, paged questions, and every refusal of AWS with what to do about it.

The SDK finds the credentials by its own chain; they are neither read nor kept here. Knows nothing of clusters.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from ...errors import ClusterError, ProviderRefused
from ...kinds import nearest
from ...remote import each, values
from ...settings import Settings
from .pace import Pace

T = TypeVar("T")
R = TypeVar("R")
PAGE = 500  # results a call; every paged question of EC2 allows so many unless PAGES says otherwise
PAGES = {"describe_instance_types": 100}
PRICING_REGION = "us-east-1"  # one of the few that the price list is asked in, for all regions

THROTTLED = re.compile(r"RequestLimitExceeded|Throttl|TooManyRequests|RequestThrottled|SlowDown|BandwidthLimit")
NO_ROOM = re.compile(
    r"Insufficient(Instance|Host|ReservedInstance|Capacity|CapacityBlock)\w*|SpotMaxPriceTooLow|Unsupported"
    r"|InsufficientFreeAddressesInSubnet|UnfulfillableCapacity"
)
QUOTA = re.compile(r"(Vcpu|Instance)LimitExceeded|MaxSpotInstanceCountExceeded")
UNANSWERED = re.compile(
    r"InternalError|InternalFailure|Internal|Unavailable|ServiceUnavailable|5\d\d|"
    r"(EndpointConnection|ConnectTimeout|ReadTimeout|ConnectionClosed|ProxyConnection|HTTPClient|IncompleteRead)(Error)?"
)

UNKNOWN_REGION = "correct `region` (or AWS_REGION); if it is newer than the SDK here: `pip install -U boto3`"
_CREDENTIALS = "name a profile (`aws_profile`, or AWS_PROFILE), or log in: `aws configure`, `aws sso login`"
HINTS: tuple[tuple[str, str], ...] = (  # the first that matches the whole code
    (r"NoRegionError", "say which one: `region: eu-central-1` in your settings, or AWS_REGION"),
    (r"ProfileNotFound", "`aws configure list-profiles` shows those that there are; correct `aws_profile`"),
    (
        r"ExpiredToken\w*|RequestExpired|TokenRefreshRequired|UnauthorizedSSOToken\w*|SSOTokenLoad\w*|TokenRetrieval\w*"
        r"|Login\w*|CredentialRetrievalError",
        "log in again (`aws sso login`, or fresh credentials), then run the same command: it goes on where this one "
        "stopped",
    ),
    (r"NoCredentials\w*|PartialCredentials\w*|NoAuthToken\w*|SSOError|UnknownCredential\w*", _CREDENTIALS),
    (
        r"AuthFailure|InvalidClientTokenId|SignatureDoesNotMatch|UnrecognizedClient\w*|InvalidAccessKeyId|Missing\w*Token",
        f"AWS does not know these credentials, or not in this region: {_CREDENTIALS}, or enable the region",
    ),
    (
        r"Unauthorized\w*|AccessDenied\w*|NotAuthorized\w*",
        "whoever runs the account must allow it: the README shows the least policy that this project needs",
    ),
    (r"OptInRequired|PendingVerification|Blocked", "the account is not ready for it: AWS's mail or console says why"),
    (r"\w*(Region|Endpoint\w*Resolution|UnknownEndpoint)\w*", "correct `region`: `invoke regions` shows them all"),
    (rf"({THROTTLED.pattern})\w*", "AWS slows this account down: wait a minute, then run the same command again"),
    (
        r"\w+(Limit|Count|Quota)Exceeded\w*",
        "this is a quota of the account: ask for fewer or smaller machines, remove some (`invoke clusters`), or have "
        "it raised under Service Quotas",
    ),
    (
        r"InsufficientFreeAddressesInSubnet|InsufficientAddressCapacity",
        "name a larger `subnet`, or remove machines that nobody needs",
    ),
    (r"SpotMaxPriceTooLow", "raise `spot_price`, or set it to 0: `invoke prices` shows what spot machines cost"),
    (
        NO_ROOM.pattern,
        "list more types (`machine_type`, `controller_type`) or more `zones`, ask for fewer engines, or try later",
    ),
    (r"InvalidAMI\w*(\.\w+)?", "correct `image`, or leave it empty: images belong to one region"),
    (r"InvalidKey(Pair)?\w*(\.\w+)?", "correct `key_pair`: `invoke keys.list` shows those of this region"),
    (r"InvalidSubnet\w*(\.\w+)?", "correct `subnet`: subnets belong to one region"),
    (r"InvalidVpc\w*(\.\w+)?|DefaultVpcDoesNotExist|VPCIdNotSpecified", "say where: `subnet: [subnet-…]`, or `vpc`"),
    (r"InvalidPlacementGroup\w*(\.\w+)?", "correct `placement_group`; one is made with the EC2 console or CLI"),
    (r"InvalidIamInstanceProfile\w*(\.\w+)?", "correct `instance_profile`"),
    (
        r"InvalidInstanceType(\.\w+)?",
        "correct `machine_type` or `controller_type`: `invoke types` shows those of the region",
    ),
    (r"InvalidInstanceID\w*(\.\w+)?|InvalidGroup\.NotFound", "`invoke status` shows what there is"),
    (r"DependencyViolation|\w+\.InUse", "something uses it still: try again in a minute"),
    (r"IncorrectInstanceState|IncorrectState", "wait until it is done with what it does, then try again"),
    (r"OperationNotPermitted", "take the protection off in the EC2 console, then try again"),
    (r"SSLError", "this computer does not trust the answer: look for a proxy, a wrong clock, or AWS_CA_BUNDLE"),
    (UNANSWERED.pattern, "look at the network and at AWS_ENDPOINT_URL, then run the same command again"),
)
OTHER = "run it again; if AWS says the same, its words above are what to look for"


class Api:
    """The clients of one account and region, each made when it is first asked for; every method from any thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._making = threading.RLock()
        self._session_made: Any = None
        self._clients: dict[str, Any] = {}
        self.tagging = Pace(burst=80, rate=8)  # EC2 allows 100 calls of CreateTags at once and 10 a second

    @property
    def region(self) -> str:
        """The region that everything happens in: ``region``, AWS_REGION, or the profile's; ProviderRefused for none."""
        with told("finding out the region"):
            region = self._settings.region or os.environ.get("AWS_REGION", "") or self._session.region_name
        if not region:
            raise ProviderRefused("no region is set", hint=hint("NoRegionError"))
        return str(region)

    @property
    def ec2(self) -> Any:
        """EC2, asked again by the SDK when it is throttled or gives no answer."""
        return self._client("ec2", "ec2", attempts=6)

    @property
    def ec2_once(self) -> Any:
        """EC2 for RunInstances: the SDK would ask for capacity that is not there again and again."""
        return self._client("ec2-once", "ec2", attempts=1)

    @property
    def ssm(self) -> Any:
        """Systems Manager, for the public parameters that name images."""
        return self._client("ssm", "ssm")

    @property
    def sts(self) -> Any:
        """Who we are."""
        return self._client("sts", "sts")

    @property
    def pricing(self) -> Any:
        """The price list, which answers in few regions for all of them."""
        return self._client("pricing", "pricing", region=PRICING_REGION)

    @property
    def quotas(self) -> Any:
        """Service Quotas."""
        return self._client("quotas", "service-quotas")

    def paged(self, operation: str, key: str, *, client: Any = None, **arguments: Any) -> list[dict[str, Any]]:
        """All results of a paged question: ``paged("describe_subnets", "Subnets", Filters=[…])``.

        ``client`` is EC2 unless given. EC2 is asked for large pages, but where ids are given, which it does not allow.
        Raises what botocore raises.
        """
        asked = client or self.ec2
        pages: dict[str, Any] = {}
        if client is None and not any(name.endswith(("Ids", "Types", "Names")) for name in arguments):
            pages = {"PaginationConfig": {"PageSize": PAGES.get(operation, PAGE)}}
        answers = asked.get_paginator(operation).paginate(**arguments, **pages)
        return [item for answer in answers for item in answer.get(key, [])]

    @property
    def _session(self) -> Any:
        with self._making:
            if self._session_made is None:
                import boto3  # takes 0.2 s

                self._session_made = boto3.Session(profile_name=self._settings.aws_profile or None)
            return self._session_made

    def _must_be_known(self, region: str) -> None:
        """Raise ProviderRefused for a region that there is not: asking there would look like a network that is down."""
        session = self._session
        known = {
            one for part in session.get_available_partitions() for one in session.get_available_regions("ec2", part)
        }
        if region not in known:
            raise ProviderRefused(f"there is no region {region}{nearest(region, known)}", hint=UNKNOWN_REGION)

    def _client(self, name: str, service: str, *, attempts: int = 4, region: str = "") -> Any:
        with self._making:
            if name not in self._clients:
                from botocore.config import Config

                where = region or self.region
                self._must_be_known(where)
                with told(f"finding AWS's {service}"):
                    self._clients[name] = self._session.client(
                        service,
                        region_name=where,
                        config=Config(
                            retries={"mode": "standard", "total_max_attempts": attempts},
                            connect_timeout=10,
                            read_timeout=60,
                            max_pool_connections=32,
                            user_agent_extra="ipyfleet",
                        ),
                    )
            return self._clients[name]


def code_of(error: BaseException) -> str:
    """AWS's name for an error such as ``DependencyViolation``; the class's name for one that never came from AWS.

    "" for what is none of the SDK's.
    """
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):
        return str(response.get("Error", {}).get("Code", ""))
    return type(error).__name__ if _of_the_sdk(error) else ""


def refusal(error: Exception, doing: str) -> ClusterError:
    """An error of the SDK as ours: what was done ("launching 4 engines"), AWS's own words and code, and what to do."""
    if isinstance(error, ClusterError):
        return error
    code = code_of(error)
    response = getattr(error, "response", None)
    said = str(response["Error"].get("Message", "")) if isinstance(response, Mapping) and "Error" in response else ""
    said = (said or str(error)).split(" Encoded authorization failure message")[0].strip().rstrip(".")
    failed = "was not answered" if UNANSWERED.fullmatch(code) else "was refused"
    return ProviderRefused(f"{doing} {failed}: {said} ({code or type(error).__name__})", hint=hint(code))


@contextmanager
def told(doing: str) -> Iterator[None]:
    """Raise what the SDK raises inside as ``refusal`` tells it."""
    try:
        yield
    except Exception as error:
        if not _of_the_sdk(error):
            raise
        raise refusal(error, doing) from error


def at_once(items: Iterable[T], work: Callable[[T], R]) -> list[R]:
    """The values of work done for all items at the same time; failures that ask for the same thing are told once."""
    outcomes = each(items, work)
    failed = {one.error.hint: one for one in reversed(outcomes) if isinstance(one.error, ClusterError)}
    told_once = {id(one) for one in failed.values()}
    return values([one for one in outcomes if not isinstance(one.error, ClusterError) or id(one) in told_once])


@contextmanager
def passing_over(*codes: str) -> Iterator[None]:
    """End the block silently at an error of AWS with one of these codes, such as ``InvalidGroup.NotFound``."""
    try:
        yield
    except Exception as error:
        if code_of(error) not in codes:
            raise


def _of_the_sdk(error: BaseException) -> bool:
    return any(kind.__module__.startswith(("botocore.", "boto3.")) for kind in type(error).__mro__)


def hint(code: str) -> str:
    """What to do about an error with this code."""
    return next((advice for pattern, advice in HINTS if re.fullmatch(pattern, code)), OTHER)
