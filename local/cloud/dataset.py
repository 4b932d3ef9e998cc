"""Made-up rows of the workspace's tables: the same for the same seed and end, and as awkward as real ones.

Among the usual are texts with line breaks, quotes and other scripts, numbers beyond 2^53, NaN, nulls,
instants with all seven digits and with none, several rows at one instant, clocks that run ahead, and rows
that arrive late.
"""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from local.cloud.dataset_cheap import container_log, firewall_log
from local.cloud.identity import Identity, made_up_uuid
from local.cloud.options import Options
from local.cloud.tables import AUXILIARY, BASIC, INGESTION_TIME, TIME
from local.cloud.ticks import DAY, HOUR, MINUTE, SECOND, format_instant

Row = dict[str, Any]

_SHARES: dict[str, float] = {"Event": 1.0, "Heartbeat": 0.4, "SigninLogs": 0.3, "AzureActivity": 0.2}
"""Rows of each table for one of Event."""

PEOPLE = (
    ("Anna Müller", "anna.mueller"), ("Søren Kierkegaard", "soren.kierkegaard"), ("李小龍", "li.xiaolong"),
    ("José Núñez", "jose.nunez"), ("Ольга Петрова", "olga.petrova"), ("محمد علي", "mohamed.ali"),
    ("O'Brien, Síle", "sile.obrien"), ("Dana \"Dee\" Scott", "dana.scott"), ("Łukasz Żak", "lukasz.zak"),
    ("नेहा शर्मा", "neha.sharma"), ("Jean-François D'Arc", "jf.darc"), ("山田 太郎", "taro.yamada"),
)  # fmt: skip
DOMAIN = "contoso.onmicrosoft.com"

_COMPUTERS = tuple(f"{site}-{role}-{number:02d}.corp.contoso.com" for site in ("ams", "zrh", "tyo")
                   for role in ("dc", "sql", "web", "ファイル") for number in range(1, 6))  # fmt: skip
_EVENTS = (
    ("System", "Service Control Manager", 7036, 4, "The {0} service entered the running state."),
    ("System", "Service Control Manager", 7031, 2, "The {0} service ended.\r\nIt did so {1} time(s)."),
    ("System", "Microsoft-Windows-Kernel-General", 16, 4, "The history of \\??\\C:\\{0}.dat was cleared."),
    ("Application", "Application Error", 1000, 2, "Faulting: {0}.exe 10.0.{1}.0\n\tCode: 0xc0000005"),
    ("Application", "MSSQLSERVER", 18456, 2, "Login failed for '{0}'. Kennwort ungültig. [10.0.0.{1}]"),
    ("Application", "ESENT", 102, 4, "{0} ({1},D,0) Das Datenbankmodul wurde gestartet – „{0}“."),
    ("Security-Audit", "Microsoft-Windows-Security", 4625, 3, "Logon failed: {0}\u2028Account: 管理者{1}"),
    ("Application", "contoso-billing", 42, 1, '{{"invoice": {1}, "text": "{0} 💶 \\"zitiert\\""}}'),
)  # fmt: skip
_LEVELS = {1: "Critical", 2: "Error", 3: "Warning", 4: "Information"}
_SERVICES = (
    "Windows Update",
    "Druckwarteschlange",
    "BITS",
    "SQL Server (MSSQLSERVER)",
    "Azure Arc",
    "サービス",
    "svc\\'x",
)
APPS = ("Azure Portal", "Microsoft Teams", "Office 365 Exchange Online", "Contoso Ausgaben", "経費精算")
PLACES = (
    ("CH", "Zürich", 47.3769, 8.5417),
    ("BR", "São Paulo", -23.5505, -46.6333),
    ("JP", "東京", 35.6762, 139.6503),
    ("US", "Redmond", 47.674, -122.1215),
    ("PL", "Łódź", 51.7592, 19.456),
)
_SIGN_IN_RESULTS = (
    *[("0", "")] * 4,
    ("50126", "Invalid username or password or Invalid on-premise username or password."),
    ("50074", "Strong Authentication is required."),
)
_OPERATIONS = (
    "MICROSOFT.COMPUTE/VIRTUALMACHINES/START/ACTION",
    "MICROSOFT.STORAGE/STORAGEACCOUNTS/WRITE",
    "MICROSOFT.AUTHORIZATION/ROLEASSIGNMENTS/WRITE",
    "MICROSOFT.RESOURCES/DEPLOYMENTS/VALIDATE/ACTION",
)


def made_up_rows(options: Options, identity: Identity, end: int) -> Iterator[tuple[str, list[Row]]]:
    """Each table's rows in the order of their arrival; none arrives after `end` (ticks)."""
    makers: dict[str, Callable[[Random, Identity, int], Row]] = {
        "Event": _event, "Heartbeat": _heartbeat, "SigninLogs": _sign_in, "AzureActivity": _activity,
        BASIC: container_log, AUXILIARY: firewall_log,
    }  # fmt: skip
    counts = {table: round(options.events * share) for table, share in _SHARES.items()}
    counts |= {BASIC: options.basic or 0, AUXILIARY: options.auxiliary or 0}
    for table, make in makers.items():
        random = Random(f"{options.seed} {table}")  # noqa: S311 (test data)
        rows = []
        for time in made_up_instants(random, counts[table], end, round(options.days * DAY)):
            row = make(random, identity, time)
            row[TIME] = time
            row["_ItemId"] = made_up_uuid(random)
            row[INGESTION_TIME] = _arrival(random, time, end)
            rows.append(row)
        rows.sort(key=lambda row: int(row[INGESTION_TIME]))
        if table == "AzureActivity":
            for row in rows[::200]:
                row[INGESTION_TIME] = None  # as in a table whose ingestion policy was switched on late
        if rows:
            yield table, rows


def made_up_instants(random: Random, count: int, end: int, span: int) -> Iterator[int]:
    """Instants before `end`; one in twenty is a whole second, one in twenty repeats the one before."""
    time = end - span // 2
    for _ in range(count):
        kind = random.random()
        if kind >= 0.05:
            time = end - 1 - int(random.random() * span)
        if 0.05 <= kind < 0.10:
            time -= time % SECOND
        yield time


def _arrival(random: Random, time: int, end: int) -> int:
    """When a row of `time` was ingested: mostly within minutes, seldom days late or before its own time."""
    kind = random.random()
    if kind < 0.985:
        delay = random.randrange(2 * SECOND, 5 * MINUTE)
    elif kind < 0.993:
        delay = random.randrange(HOUR, 20 * HOUR)
    elif kind < 0.997:
        delay = random.randrange(DAY, 60 * HOUR)
    else:
        delay = -random.randrange(SECOND, 10 * MINUTE)
    return min(time + delay, end)


def _event(random: Random, identity: Identity, time: int) -> Row:
    log, source, number, level, text = random.choice(_EVENTS)
    service, count = random.choice(_SERVICES), random.randrange(1, 250)
    return {
        "SourceSystem": "OpsManager",
        "Source": source,
        "EventLog": log,
        "Computer": random.choice(_COMPUTERS),
        "EventLevel": level,
        "EventLevelName": _LEVELS[level],
        "ParameterXml": f"<Param>{service}</Param><Param>{count}</Param>",
        "EventData": f'<DataItem time="{format_instant(time)}"><Data>{service}</Data></DataItem>',
        "EventID": number,
        "RenderedDescription": text.format(service, count),
        "EventCategory": random.choice((0, 1, 7, None)),
        "UserName": random.choice(("N/A", "NT AUTHORITY\\SYSTEM", "CONTOSO\\łukasz", "")),
        "EventRecordId": random.choice(
            (random.randrange(10**6), 2**53 + 1 + random.randrange(10**6), 2**63 - 1, None)
        ),
        "Correlation": made_up_uuid(random) if count % 2 else None,
        "Duration": random.choice((None, 0, count, count * SECOND + 7, DAY + count, -count * MINUTE)),
        "_ResourceId": _resource(identity, "microsoft.compute/virtualmachines", "vm"),
    }


def _heartbeat(random: Random, identity: Identity, time: int) -> Row:
    computer = random.choice(_COMPUTERS)
    country, _, latitude, longitude = random.choice(PLACES)
    return {
        "SourceSystem": "Direct Agent",
        "MG": "00000000-0000-0000-0000-000000000001",
        "Computer": computer,
        "SourceComputerId": made_up_uuid(Random(computer)),  # noqa: S311 (one id for each computer)
        "ComputerIP": f"20.{random.randrange(256)}.{random.randrange(256)}.{random.randrange(256)}",
        "Category": "Azure Monitor Agent",
        "OSType": "Windows" if "sql" in computer else "Linux",
        "OSName": "Windows Server 2025 Datacenter" if "sql" in computer else "Ubuntu",
        "OSMajorVersion": "10" if "sql" in computer else "24",
        "Version": "1.33.2",
        "IsGatewayInstalled": random.choice((False, False, True, None)),
        "RemoteIPLongitude": longitude,
        "RemoteIPLatitude": latitude if random.random() < 0.95 else "NaN",
        "RemoteIPCountry": country,
        "ComputerEnvironment": "Azure",
        "Resource": computer.partition(".")[0],
        "Uptime": time % (400 * DAY),
        "_ResourceId": _resource(identity, "microsoft.compute/virtualmachines", computer.partition(".")[0]),
    }


def _sign_in(random: Random, identity: Identity, time: int) -> Row:
    del identity
    name, alias = random.choice(PEOPLE)
    country, city, latitude, longitude = random.choice(PLACES)
    code, reason = random.choice(_SIGN_IN_RESULTS)
    return {
        "SourceSystem": "Azure AD",
        "OperationName": "Sign-in activity",
        "Category": "SignInLogs",
        "ResultType": code,
        "ResultDescription": reason,
        "DurationMs": random.choice((0, random.randrange(5_000), None)),
        "CorrelationId": made_up_uuid(random),
        "Identity": name,
        "Location": country,
        "AppDisplayName": random.choice(APPS),
        "AppId": "c44b4083-3bb0-49c1-b47d-974e53cbdf3c",
        "ClientAppUsed": random.choice(("Browser", "Mobile Apps and Desktop clients")),
        "ConditionalAccessPolicies": [
            {
                "id": made_up_uuid(random),
                "displayName": "MFA für alle",
                "result": "success",
                "enforcedGrantControls": ["Mfa"],
            }
        ][: random.randrange(2)],
        "CreatedDateTime": time - random.randrange(SECOND),
        "DeviceDetail": {
            "deviceId": "",
            "operatingSystem": "Windows 11",
            "browser": "Edge 131.0.0",
            "isCompliant": None,
        },
        "IsInteractive": random.choice((True, False)),
        "IPAddress": f"2a02:aa{random.randrange(16):x}::{random.randrange(65536):x}",
        "LocationDetails": {
            "city": city,
            "countryOrRegion": country,
            "geoCoordinates": {"latitude": latitude, "longitude": longitude},
        },
        "RiskScore": random.choice(
            (0.0, 1.0, random.random(), 1e-7, 1e22, "NaN", "Infinity", "-Infinity", None)
        ),
        "Status": {
            "errorCode": int(code),
            "additionalDetails": "MFA requirement satisfied by claim in the token",
        },
        "UserDisplayName": name,
        "UserPrincipalName": f"{alias}@{DOMAIN}",
        "UniqueTokenIdentifier": made_up_uuid(random).replace("-", "_"),
        "SessionId": made_up_uuid(random) if random.random() < 0.8 else None,
    }


def _activity(random: Random, identity: Identity, time: int) -> Row:
    name, alias = random.choice(PEOPLE)
    operation, group = random.choice(_OPERATIONS), random.choice(("rg-prod", "rg-zürich", "RG-Test"))
    properties = (
        {"entity": f"/subscriptions/x/resourceGroups/{group}", "message": operation, "hierarchy": "a/b"},
        {"statusCode": "OK", "requestId": None, "sequence": 2**63 + random.randrange(9), "ratio": 0.10},
        '"only a text"',
        "[1, 2.50, {\"tief\": [[]]}]",
        None,
    )  # fmt: skip
    return {
        "SourceSystem": "Azure",
        "OperationNameValue": operation,
        "Level": random.choice(("Informational", "Warning", "Error")),
        "ActivityStatusValue": random.choice(("Start", "Success", "Failure")),
        "ActivitySubstatusValue": random.choice(("", "Created", "Conflict")),
        "ResourceGroup": group,
        "SubscriptionId": identity.workspace_resource_id.split("/")[2],
        "CallerIpAddress": f"85.1.{random.randrange(256)}.{random.randrange(256)}",
        "Caller": f"{alias}@{DOMAIN}",
        "CategoryValue": "Administrative",
        "CorrelationId": made_up_uuid(random),
        "Authorization_d": {"scope": f"/subscriptions/x/resourceGroups/{group}", "action": operation},
        "Claims_d": {"aud": "https://management.core.windows.net/", "name": name, "puid": "1003200085C1A2B3"},
        "Properties_d": random.choice(properties),
        "EventSubmissionTimestamp": time + random.randrange(MINUTE) if random.random() < 0.9 else None,
        "EventDataId": made_up_uuid(random),
        "SequenceNumber": random.choice((random.getrandbits(62), -1, 0, None)),
        "EstimatedCost": random.choice(
            (None, "0", f"{random.randrange(10**6)}.{random.randrange(10**7):07d}", "-12.5")
        ),
        "_ResourceId": _resource(identity, "microsoft.storage/storageaccounts", "stprod"),
    }


def _resource(identity: Identity, kind: str, name: str) -> str:
    subscription = identity.workspace_resource_id.split("/")[2]
    return f"/subscriptions/{subscription}/resourcegroups/rg-prod/providers/{kind}/{name}"
