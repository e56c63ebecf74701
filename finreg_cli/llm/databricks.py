"""The provider ``databricks``: model serving of a workspace, signed in as every Databricks tool is (unified auth).

The SDK finds the credentials (a profile, the environment, OAuth of a service principal, a personal token) and renews
tokens that expire. Nothing is stored.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finreg_cli.config import Endpoint
from finreg_cli.errors import ConfigError, EndpointError, FinregError
from finreg_cli.llm.transport import RequestFailed

if TYPE_CHECKING:
    from databricks.sdk.core import Config as Workspace

SERVING_PATH = "/serving-endpoints"
GATEWAY_PATH = "/ai-gateway/mlflow/v1"

_SECONDS_FOR_DISCOVERY = 5
_OTHER_TASKS = frozenset({"llm/v1/embeddings", "llm/v1/completions"})

_NOTHING_CONFIGURED = ("cannot configure default credentials", "profile configured", "more than one authorization")

_log = logging.getLogger(__name__)


class DatabricksRoute:
    """Where the requests of a ``databricks`` endpoint go: implements `endpoints.Route`.

    A name with dots (``system.ai.llama-4-maverick``) is a model of the AI gateway; the names of serving endpoints
    (``databricks-gpt-oss-120b``) have none.

    Signing in follows the environment as the SDK and `requests` do: DATABRICKS_*, HTTPS_PROXY, REQUESTS_CA_BUNDLE.

    Args:
        name: ``generator`` or ``judge``, as in the configuration, for the messages.
        endpoint: its configuration.
        environment: where endpoints look up their own keys. The SDK reads the process's environment only.

    Raises:
        ConfigError: a profile is named, but there is no file of profiles.
    """

    def __init__(self, name: str, endpoint: Endpoint, environment: Mapping[str, str]) -> None:
        del environment
        profiles = Path(os.environ.get("DATABRICKS_CONFIG_FILE") or "~/.databrickscfg").expanduser()
        if endpoint.profile and not profiles.is_file():  # the SDK would go on without a word, as somebody else perhaps
            raise ConfigError(
                f"endpoints.{name}.profile is {endpoint.profile}, but there is no file {profiles}",
                f"databricks auth login --profile {endpoint.profile}",
            )
        self._name = name
        self._endpoint = endpoint
        self._workspace: Workspace | None = None

    async def open(self) -> str:
        """Signs in, without a request to the model, and gives the base URL.

        Raises:
            ConfigError: there are no credentials, or the profile is unknown.
            EndpointError: the workspace refuses the credentials, or does not answer.
        """
        self._workspace = await asyncio.to_thread(self._sign_in)
        path = GATEWAY_PATH if "." in self._endpoint.model else SERVING_PATH
        return f"{self._workspace.host}{path}"

    async def headers(self) -> Mapping[str, str]:
        """The headers that authorize a request now. A token that is about to expire is renewed first.

        Raises:
            RequestFailed: the token could not be renewed because nothing answered; it may be later.
            EndpointError: the workspace refuses to renew it.
        """
        import requests

        workspace = self._opened
        try:
            headers = await asyncio.to_thread(workspace.authenticate)
        except requests.RequestException as error:
            raise RequestFailed(f"the token could not be renewed: {_one_line(error)}", transient=True) from error
        except Exception as error:  # the SDK raises what its dozen ways to sign in happen to raise, ValueError mostly
            raise self._refused(error) from error
        # A host that serves several workspaces is told which is meant.
        return headers | ({"X-Databricks-Workspace-Id": workspace.workspace_id} if workspace.workspace_id else {})

    async def models(self) -> list[str]:
        """The names of the serving endpoints that may chat; empty if the workspace does not tell."""
        try:
            return await asyncio.to_thread(self._chat_endpoints)
        except Exception as error:  # only for a better message: without a list, the message does without it
            _log.debug("the workspace lists no serving endpoints: %s", error)
            return []

    def remedy(self, status: int) -> str | None:
        """What to do about a refusal with this HTTP status; None where it is nothing of this provider's own."""
        if status == 401:
            return self._sign_in_again
        if status == 403:
            # A personal token that is not valid any more is refused in this way, too.
            return (
                f"ask an administrator of {self._opened.host} for the permission CAN QUERY on {self._endpoint.model}; "
                f"where the token is meant: {self._sign_in_again}"
            )
        return None

    async def close(self) -> None:
        """Nothing is held open between two requests."""

    @property
    def _opened(self) -> Workspace:
        if self._workspace is None:
            raise RuntimeError("the route is used before it was opened")
        return self._workspace

    @property
    def _sign_in_again(self) -> str:
        profile = f" --profile {self._endpoint.profile}" if self._endpoint.profile else ""
        return (
            f"databricks auth login{profile} (or export DATABRICKS_HOST with DATABRICKS_TOKEN, or with "
            "DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET), then finreg doctor"
        )

    def _sign_in(self) -> Workspace:
        from databricks.sdk.core import Config as Workspace

        with _warnings_of_the_sdk() as warned:
            try:
                workspace = Workspace(
                    profile=self._endpoint.profile,
                    product="finreg",
                    # The workspace is asked about itself first; one that is not there would be waited for 5 minutes.
                    retry_timeout_seconds=_SECONDS_FOR_DISCOVERY,
                    http_timeout_seconds=_SECONDS_FOR_DISCOVERY,
                )
                workspace.authenticate()
            except Exception as error:  # as in `headers`
                raise self._refused(error, warned) from error
        return workspace

    def _refused(self, error: Exception, warned: list[str] | None = None) -> FinregError:
        """The SDK's message names what it looked at: the attributes and variables it found, secrets as ``***``."""
        said = _one_line(error)
        # What went wrong first is only warned of; the error that follows from it is often beside the point.
        before = f" (before that: {'; '.join(warned)})" if warned else ""
        kind = ConfigError if any(sign in said for sign in _NOTHING_CONFIGURED) else EndpointError
        return kind(f"endpoints.{self._name} cannot sign in to Databricks: {said}{before}", self._sign_in_again)

    def _chat_endpoints(self) -> list[str]:
        from databricks.sdk.core import ApiClient

        answer: Any = ApiClient(self._opened).do("GET", "/api/2.0/serving-endpoints")
        listed = answer.get("endpoints", [])
        return sorted(each["name"] for each in listed if each.get("task") not in _OTHER_TASKS)


@contextmanager
def _warnings_of_the_sdk() -> Iterator[list[str]]:
    warned: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            warned.append(record.getMessage())

    handler, logger = Collector(logging.WARNING), logging.getLogger("databricks.sdk")
    logger.addHandler(handler)
    try:
        yield warned
    finally:
        logger.removeHandler(handler)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
