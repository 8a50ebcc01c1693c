"""Each format is valid by its own standard, over every machine of the zoo."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import jsonschema
import pytest
from tests.zoo import Exhibit, exhibits
from tests.zoo.broken_driver import kernel_update_without_module
from tests.zoo.broken_visibility import docker_without_toolkit

from cuready.doctor.engine import Diagnosis, diagnose
from cuready.doctor.finding import CheckResult, CheckStatus, Confidence, Evidence, Finding, Severity
from cuready.doctor.render import FORMATS, renderer
from cuready.doctor.render.document import schema, to_document
from cuready.doctor.render.sarif import to_sarif
from cuready.doctor.render.text import render as render_text

MACHINES = [*exhibits("fault"), *exhibits("healthy")[:5]]

# Only what a consumer needs of SARIF 2.1.0: required members and allowed values of the standard
# (https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/sarif-v2.1.0-os.html, section 3).
SARIF = {
    "type": "object",
    "required": ["version", "runs", "$schema"],
    "properties": {
        "$schema": {"type": "string", "format": "uri"},
        "version": {"const": "2.1.0"},
        "runs": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/run"}},
    },
    "additionalProperties": False,
    "$defs": {
        "message": {
            "type": "object",
            "required": ["text"],
            "properties": {"text": {"type": "string", "minLength": 1}},
            "additionalProperties": False,
        },
        "level": {"enum": ["none", "note", "warning", "error"]},
        "run": {
            "type": "object",
            "required": ["tool", "results"],
            "additionalProperties": False,
            "properties": {
                "tool": {
                    "type": "object",
                    "required": ["driver"],
                    "properties": {
                        "driver": {
                            "type": "object",
                            "required": ["name", "rules"],
                            "properties": {
                                "rules": {"type": "array", "items": {"$ref": "#/$defs/rule"}},
                                "informationUri": {"type": "string", "format": "uri"},
                            },
                        }
                    },
                },
                "invocations": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["executionSuccessful"],
                        "properties": {
                            "toolExecutionNotifications": {
                                "type": "array",
                                "items": {
                                    "type": "object",
                                    "required": ["message"],
                                    "properties": {"level": {"$ref": "#/$defs/level"}},
                                },
                            }
                        },
                    },
                },
                "results": {"type": "array", "items": {"$ref": "#/$defs/result"}},
            },
        },
        "rule": {
            "type": "object",
            "required": ["id"],
            "properties": {
                "id": {"type": "string", "minLength": 1},
                "shortDescription": {"$ref": "#/$defs/message"},
                "fullDescription": {"$ref": "#/$defs/message"},
                "help": {"$ref": "#/$defs/message"},
                "helpUri": {"type": "string", "format": "uri"},
                "defaultConfiguration": {"properties": {"level": {"$ref": "#/$defs/level"}}},
            },
            "additionalProperties": False,
        },
        "result": {
            "type": "object",
            "required": ["message", "ruleId", "ruleIndex", "level", "locations"],
            "properties": {
                "message": {"$ref": "#/$defs/message"},
                "level": {"$ref": "#/$defs/level"},
                "locations": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "anyOf": [
                            {"required": ["physicalLocation"]},
                            {"required": ["logicalLocations"]},
                        ]
                    },
                },
                "partialFingerprints": {"additionalProperties": {"type": "string"}},
            },
        },
    },
}


def by_name(item: Exhibit) -> str:
    return item.name


@pytest.mark.parametrize("item", MACHINES, ids=by_name)
def test_document_fits_its_schema(item: Exhibit) -> None:
    jsonschema.Draft202012Validator(schema()).validate(to_document(diagnose(item.build())))


def test_schema_is_one_itself_and_refuses_what_it_should() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    document = to_document(diagnose(kernel_update_without_module()))
    document["findings"][0]["severity"] = "fatal"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema()).validate(document)


def test_summary_counts_what_is_listed() -> None:
    document = to_document(diagnose(kernel_update_without_module()))
    severities = [item["severity"] for item in document["findings"]]
    assert document["summary"]["errors"] == severities.count("error") == 1


@pytest.mark.parametrize("item", MACHINES, ids=by_name)
def test_sarif_has_the_required_members(item: Exhibit) -> None:
    log = to_sarif(diagnose(item.build()))
    jsonschema.Draft202012Validator(SARIF).validate(log)
    run = log["runs"][0]
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]


@pytest.mark.parametrize("item", MACHINES, ids=by_name)
def test_junit_counts_agree_with_its_cases(item: Exhibit) -> None:
    diagnosis = diagnose(item.build())
    root = ET.fromstring(renderer("junit")(diagnosis))
    cases = root.findall(".//testcase")
    assert int(root.get("tests", "")) == len(cases) == len(diagnosis.checks)
    assert int(root.get("failures", "")) == len(root.findall(".//testcase[failure]"))
    assert int(root.get("errors", "")) == len(root.findall(".//testcase[error]"))
    assert int(root.get("skipped", "")) == len(root.findall(".//testcase[skipped]"))
    for suite in root:
        assert suite.tag == "testsuite"
        assert int(suite.get("tests", "")) == len(suite.findall("testcase"))


HOSTILE = "50% of\r\na::b, c \x00\x1b[31m ]]> <tag> \udcff 漢"


def hostile() -> Diagnosis:
    """A finding whose texts hold what each format has to escape."""
    item = Finding("PLUGIN01", Severity.WARNING, HOSTILE, HOSTILE, evidence=(Evidence(HOSTILE, HOSTILE),),
                   links=("https://example.org/x",), subject=HOSTILE)  # fmt: skip
    return Diagnosis((item,), (CheckResult("PLUGIN01", CheckStatus.FOUND),))


def test_junit_is_xml_whatever_the_texts() -> None:
    root = ET.fromstring(renderer("junit")(replace(hostile(), strict=True)))
    assert root.find(".//failure") is not None
    assert "<tag>" in ET.fromstring(renderer("junit")(hostile())).findtext(".//system-out", "")


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("item", MACHINES, ids=by_name)
def test_junit_fails_where_the_exit_code_does(item: Exhibit, strict: bool) -> None:
    diagnosis = diagnose(item.build(), strict=strict)
    root = ET.fromstring(renderer("junit")(diagnosis))
    assert (root.get("failures") != "0") is diagnosis.failed
    assert (root.get("errors") != "0") is not diagnosis.answered
    text = "".join(root.itertext())
    for found in diagnosis.findings:
        assert found.cause in text, "what does not fail is told all the same"


def test_a_warning_is_a_case_that_passed_with_a_word_to_say() -> None:
    diagnosis = diagnose(docker_without_toolkit())
    (case,) = ET.fromstring(renderer("junit")(diagnosis)).findall(".//testcase[system-out]")
    assert [child.tag for child in case] == ["system-out"]
    assert (case.findtext("system-out") or "").startswith("warning: ")
    (case,) = ET.fromstring(renderer("junit")(replace(diagnosis, strict=True))).findall(
        ".//testcase[failure]"
    )
    assert [child.get("type") for child in case] == ["warning"]


def test_an_error_and_a_warning_of_one_id_share_a_case() -> None:
    both = (of("LIB01", Severity.ERROR, "a"), of("LIB01", Severity.WARNING, "b"))
    checks = (CheckResult("LIB01", CheckStatus.FOUND),)
    (case,) = ET.fromstring(renderer("junit")(Diagnosis(both, checks))).findall(".//testcase")
    assert [child.tag for child in case] == ["failure", "system-out"]


def of(check_id: str, severity: Severity, subject: str) -> Finding:
    return Finding(check_id, severity, "t", "c.", evidence=(Evidence("s", "d"),), subject=subject)


@pytest.mark.parametrize(
    ("others", "tag", "successful"),
    [((CheckStatus.PASSED,), "skipped", True), ((CheckStatus.SKIPPED,), "error", False)],
)
def test_a_check_without_an_answer_is_an_error_where_the_run_could_not_finish(
    others: tuple[CheckStatus, ...], tag: str, successful: bool
) -> None:
    checks = [CheckResult("DRV01", CheckStatus.UNKNOWN, "denied")]
    checks += [CheckResult("DRV02", status) for status in others]
    diagnosis = Diagnosis((), tuple(checks))
    case = ET.fromstring(renderer("junit")(diagnosis)).find(".//testcase")
    assert case is not None
    assert [child.tag for child in case] == [tag]
    assert "denied" in str(case[0].get("message"))
    run = to_sarif(diagnosis)["runs"][0]
    assert run["invocations"][0]["executionSuccessful"] is successful


def test_sarif_and_github_call_a_warning_a_warning() -> None:
    diagnosis = diagnose(docker_without_toolkit())
    assert [x["level"] for x in to_sarif(diagnosis)["runs"][0]["results"]] == ["warning"]
    assert renderer("github")(diagnosis).startswith("::warning ")


def test_github_command_stays_on_one_line_and_is_escaped() -> None:
    first, last = renderer("github")(hostile()).splitlines()
    assert first.startswith("::warning title=PLUGIN01 50%25 of%0D%0Aa%3A%3Ab%2C c")
    assert last == "cuready doctor: 0 errors, 1 warnings, 0 infos, 0 unknown"


def test_json_and_sarif_of_hostile_texts_parse_back() -> None:
    for name in ("json", "sarif"):
        assert json.loads(renderer(name)(hostile()))


def test_every_format_renders_an_unsure_finding_below_an_error() -> None:
    diagnosis = diagnose(kernel_update_without_module())
    unsure = replace(diagnosis, findings=tuple(
        replace(item, confidence=Confidence.UNKNOWN) for item in diagnosis.findings))  # fmt: skip
    assert renderer("github")(unsure).startswith("::notice ")
    assert to_sarif(unsure)["runs"][0]["results"][0]["level"] == "note"
    assert ET.fromstring(renderer("junit")(unsure)).get("failures") == "0"
    assert set(FORMATS) == {"json", "sarif", "junit", "github"}


def plain(diagnosis: Diagnosis, **options: bool) -> str:
    import click

    return click.unstyle("\n".join(render_text(diagnosis, **options)))  # type: ignore[arg-type]


def test_text_names_finding_cause_fix_and_link() -> None:
    text = plain(diagnose(kernel_update_without_module()))
    assert "[✗] Driver and kernel (1 error)" in text
    assert "DRV01 The NVIDIA kernel module is not loaded" in text
    assert "        sudo apt-get install -y linux-headers-6.8.0-51-generic\n" in text
    assert "see https://" in text
    assert text.endswith("1 error, 0 warnings.")


def test_verbose_text_adds_evidence_and_every_check() -> None:
    diagnosis = diagnose(kernel_update_without_module())
    text = plain(diagnosis, verbose=True)
    assert "/sys/module/nvidia: not there" in text
    assert text.count("passed") + text.count("skipped") > 20


def test_healthy_machine_is_a_handful_of_lines() -> None:
    text = plain(diagnose(exhibits("healthy")[0].build()))
    assert text.endswith("No problems found.")
    assert len(text.splitlines()) < 14


def test_marks_are_ascii_where_the_terminal_is() -> None:
    assert plain(diagnose(kernel_update_without_module()), unicode=False).isascii()
