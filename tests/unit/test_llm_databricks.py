"""The provider databricks against a workspace on loopback that checks every token."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.databricks_workspace import (
    CLIENT_ID,
    CLIENT_SECRET,
    FORBIDDEN,
    GATEWAY_MODEL,
    PERSONAL_TOKEN,
    FakeWorkspace,
)
from finreg_cli.config import Endpoint
from finreg_cli.errors import ConfigError, EndpointError
from finreg_cli.llm.databricks import DatabricksRoute
from finreg_cli.llm.endpoints import OpenAIEndpoint, probe
from finreg_cli.llm.transport import RequestFailed

MODEL = "databricks-gpt-oss-120b"


@pytest.fixture(autouse=True)
def _nobody_is_signed_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in list(os.environ):
        if variable.startswith(("DATABRICKS_", "ARM_", "GOOGLE_")):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "databrickscfg"))
    monkeypatch.setenv("DATABRICKS_CLI_PATH", str(tmp_path / "no-cli"))


@pytest.fixture
def workspace() -> Iterator[FakeWorkspace]:
    with FakeWorkspace() as running:
        yield running


def endpoint(model: str = MODEL, profile: str | None = None) -> Endpoint:
    return Endpoint(provider="databricks", model=model, profile=profile)


def route(profile: str | None = None, model: str = MODEL) -> DatabricksRoute:
    return DatabricksRoute("generator", endpoint(model, profile), {})


def personally(monkeypatch: pytest.MonkeyPatch, workspace: FakeWorkspace, token: str = PERSONAL_TOKEN) -> None:
    monkeypatch.setenv("DATABRICKS_HOST", workspace.host)
    monkeypatch.setenv("DATABRICKS_TOKEN", token)


def as_a_service(monkeypatch: pytest.MonkeyPatch, workspace: FakeWorkspace, secret: str = CLIENT_SECRET) -> None:
    monkeypatch.setenv("DATABRICKS_HOST", workspace.host)
    monkeypatch.setenv("DATABRICKS_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", secret)


@pytest.mark.parametrize(
    ("model", "path"),
    [
        (MODEL, "/serving-endpoints/chat/completions"),
        ("our-own-model", "/serving-endpoints/chat/completions"),
        (GATEWAY_MODEL, "/ai-gateway/mlflow/v1/chat/completions"),
    ],
)
def test_the_name_decides_the_route(
    monkeypatch: pytest.MonkeyPatch, workspace: FakeWorkspace, model: str, path: str
) -> None:
    personally(monkeypatch, workspace)
    assert f"answers as {model} (7 tokens)" in probe("generator", endpoint(model))
    assert [(each.path, each.model, each.token) for each in workspace.asked] == [(path, model, PERSONAL_TOKEN)]


def test_a_profile_of_the_file_is_used(workspace: FakeWorkspace) -> None:
    profiles = Path(os.environ["DATABRICKS_CONFIG_FILE"])
    profiles.write_text(
        f"[other]\nhost = https://nowhere.invalid\n[bank]\nhost = {workspace.host}\ntoken = dapi-fake\n"
    )
    probe("judge", endpoint(profile="bank"))
    assert workspace.asked[0].token == PERSONAL_TOKEN


def test_a_host_of_several_workspaces_is_told_which(monkeypatch: pytest.MonkeyPatch, workspace: FakeWorkspace) -> None:
    personally(monkeypatch, workspace)

    async def headers() -> dict[str, str]:
        opened = route()
        assert await opened.open() == f"{workspace.host}/serving-endpoints"
        return dict(await opened.headers())

    assert asyncio.run(headers()) == {
        "Authorization": f"Bearer {PERSONAL_TOKEN}",
        "X-Databricks-Workspace-Id": "1234567890",
    }


# --- a service principal, whose tokens expire ---


async def ask(times: int) -> list[str]:
    asked = OpenAIEndpoint("generator", endpoint())
    try:
        replies = [await asked.complete([{"role": "user", "content": "Reply: ready"}], None) for _ in range(times)]
    finally:
        await asked.close()
    return [reply.text for reply in replies]


def test_one_token_serves_as_long_as_it_lives(monkeypatch: pytest.MonkeyPatch, workspace: FakeWorkspace) -> None:
    as_a_service(monkeypatch, workspace)
    assert asyncio.run(ask(3)) == ["ready"] * 3
    assert len(workspace.tokens_given) == 1
    assert {each.token for each in workspace.asked} == set(workspace.tokens_given)


def test_a_token_about_to_expire_is_renewed_for_the_next_request(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeWorkspace(token_seconds=30) as workspace:  # the SDK takes one with less than 40 s left for expired
        as_a_service(monkeypatch, workspace)
        assert asyncio.run(ask(3)) == ["ready"] * 3
        used = [each.token for each in workspace.asked]
        assert len(set(used)) == 3
        assert used == workspace.tokens_given[-3:]


def test_a_token_that_is_refused_a_renewal_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeWorkspace(token_seconds=30) as workspace:
        as_a_service(monkeypatch, workspace)

        async def twice() -> None:
            opened = route()
            await opened.open()
            workspace.signs_in = False
            with pytest.raises(EndpointError, match=r"invalid_client: Client authentication failed") as refused:
                await opened.headers()
            assert "databricks auth login" in refused.value.remedy

        asyncio.run(twice())


def test_a_renewal_that_nobody_answers_is_tried_again_by_the_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    async def after_the_workspace_is_gone() -> None:
        with FakeWorkspace(token_seconds=30) as workspace:
            as_a_service(monkeypatch, workspace)
            opened = route()
            await opened.open()
        with pytest.raises(RequestFailed, match="the token could not be renewed") as failed:
            await opened.headers()
        assert failed.value.transient
        assert not failed.value.endpoint_wide

    asyncio.run(after_the_workspace_is_gone())


# --- what is refused, and what helps ---


def test_without_credentials_the_message_says_what_was_looked_at() -> None:
    with pytest.raises(ConfigError, match=r"endpoints\.generator cannot sign in to Databricks") as refused:
        probe("generator", endpoint())
    assert "cannot configure default credentials" in refused.value.message
    assert "Env: DATABRICKS_CONFIG_FILE" in refused.value.message
    assert "DATABRICKS_CLIENT_SECRET" in refused.value.remedy


def test_a_profile_without_a_file_is_refused_though_the_environment_could_sign_in(
    monkeypatch: pytest.MonkeyPatch, workspace: FakeWorkspace
) -> None:
    personally(monkeypatch, workspace)
    with pytest.raises(ConfigError, match=r"endpoints\.generator\.profile is bank, but there is no file"):
        route(profile="bank")


def test_an_unknown_profile_is_named(workspace: FakeWorkspace) -> None:
    Path(os.environ["DATABRICKS_CONFIG_FILE"]).write_text(f"[other]\nhost = {workspace.host}\ntoken = dapi-fake\n")
    with pytest.raises(ConfigError, match="no bank profile configured"):
        probe("generator", endpoint(profile="bank"))
    assert not workspace.asked


def test_a_wrong_secret_is_the_workspaces_refusal_and_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, workspace: FakeWorkspace
) -> None:
    as_a_service(monkeypatch, workspace, secret="swordfish")
    with pytest.raises(EndpointError, match="invalid_client") as refused:
        probe("generator", endpoint())
    assert "swordfish" not in f"{refused.value.message}{refused.value.remedy}"


def test_a_token_that_is_not_valid_is_not_shown_either(
    monkeypatch: pytest.MonkeyPatch, workspace: FakeWorkspace
) -> None:
    personally(monkeypatch, workspace, token="dapi-swordfish")
    with pytest.raises(EndpointError, match="HTTP 403: Invalid access token") as refused:
        probe("generator", endpoint())
    assert "databricks auth login" in refused.value.remedy
    assert "swordfish" not in f"{refused.value.message}{refused.value.remedy}"


def test_a_missing_permission_is_named(monkeypatch: pytest.MonkeyPatch, workspace: FakeWorkspace) -> None:
    personally(monkeypatch, workspace)
    with pytest.raises(EndpointError, match="HTTP 403: User does not have permission") as refused:
        probe("generator", endpoint(FORBIDDEN))
    assert f"CAN QUERY on {FORBIDDEN}" in refused.value.remedy


@pytest.mark.parametrize("model", ["databricks-dbrx-instruct", "system.ai.dbrx-instruct"])
def test_an_unknown_name_lists_the_endpoints_that_can_chat(
    monkeypatch: pytest.MonkeyPatch, workspace: FakeWorkspace, model: str
) -> None:
    personally(monkeypatch, workspace)
    with pytest.raises(EndpointError, match=f"HTTP 404: Endpoint with name '{model}' does not exist") as refused:
        probe("generator", endpoint(model))
    expected = "it has databricks-gpt-oss-120b, databricks-llama-4-maverick, our-own-model"
    assert refused.value.remedy == f"set endpoints.generator.model: {expected}"


@pytest.mark.slow
def test_a_workspace_that_is_not_there_is_told_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes as long as the SDK tries: the reason is only in a warning of its, and belongs into the message."""
    with FakeWorkspace() as gone:
        as_a_service(monkeypatch, gone)
    with pytest.raises(EndpointError, match=r"before that: .*/\.well-known/databricks-config: Timed out after 0:00:05"):
        probe("generator", endpoint())
