#!/usr/bin/env python3
"""A Redfish service for tests: TLS, sessions and Basic, ETags, pages, and faults on request.

    service.py FOLDER CERTIFICATE

FOLDER has the certificates of certificates.sh, and gets `port` as soon as the service answers,
`requests` (a line for each: method, path, status, how it was authenticated) and `stored.json` (the
entries that were added and the actions that were done). FOLDER/behaviour.json is read anew for each
request; what it does not say is as in BEHAVIOUR. Faults are {"method", "path", "kind", "times"}:
the first whose path (a regular expression) fits the whole path and that has times left is done.
"""
import base64
import hashlib
import http.server
import json
import pathlib
import re
import secrets
import socket
import ssl
import sys
import threading
import time

USER, PASSWORD = "registrar", "s3cret-Of-The-BMC"
ROOT = "/redfish/v1"
SYSTEM = f"{ROOT}/Systems/1"
LOG = f"{SYSTEM}/LogServices/Log"
JOURNAL = f"{ROOT}/Managers/bmc/LogServices/Journal"
BEHAVIOUR = {
    "uuid": "99999999-8888-7777-6666-555555555555",  # of tests/cli/machine.py
    "sessions": True,       # else there is no session service, and Basic is taken
    "session_requests": 0,  # after so many a session ends; 0: never
    "page_size": 2,
    "pages": "all",         # "loop": the last page leads to the first; "foreign": to another host
    "insertable": True,
    "keeps_messages": True,
    "links_at": "",         # the host that links name, with https:// before it
    "faults": [],
}
HERE = pathlib.Path(__file__).resolve().parent
SAMPLE = HERE.parent / "golden/sources/redfish/log.json"


def link(path):
    return {"@odata.id": path}


def collection(path, kind, members):
    return {"@odata.id": path, "@odata.type": f"#{kind}Collection.{kind}Collection",
            "Name": f"{kind} collection", "Members": members, "Members@odata.count": len(members)}


def module(number):
    path = f"{SYSTEM}/Memory/DIMM{number}"
    return {"@odata.id": path, "@odata.type": "#Memory.v1_17_0.Memory", "Id": f"DIMM{number}",
            "Name": f"Module {number}", "DeviceLocator": f"DIMM {'AB'[number - 1]}1", "CapacityMiB": 32,
            "MemoryDeviceType": "DDR5", "Metrics": link(f"{path}/MemoryMetrics")}


def metrics(number):
    path = f"{SYSTEM}/Memory/DIMM{number}/MemoryMetrics"
    counted = {"CorrectableECCErrorCount": 7 * (number - 1), "UncorrectableECCErrorCount": number - 1}
    return {"@odata.id": path, "@odata.type": "#MemoryMetrics.v1_7_0.MemoryMetrics", "Id": "Metrics",
            "Name": "Metrics", "LifeTime": counted, "CurrentPeriod": {"CorrectableECCErrorCount": 1}}


def log_service(path):
    return {"@odata.id": path, "@odata.type": "#LogService.v1_7_0.LogService", "Id": path.split("/")[-1],
            "Name": "Log", "Entries": link(f"{path}/Entries"), "OverWritePolicy": "NeverOverWrites"}


class Service:
    """What is in the service, apart from how it is asked."""

    def __init__(self, folder):
        self.folder = folder
        self.lock = threading.Lock()
        self.tokens = {}
        self.used = {}
        self.actions = []
        self.added = []
        self.settings = {}
        sample = json.loads(SAMPLE.read_text(encoding="utf-8"))
        sample = sample["Members"] if isinstance(sample, dict) else sample[0]["Members"]
        self.sample = [entry for entry in sample if "EntryType" in entry]

    def behaviour(self):
        path = self.folder / "behaviour.json"
        given = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return {**BEHAVIOUR, **given}

    def entries(self, path):
        if path == LOG:
            listed = self.sample + self.added
            return [{**entry, "@odata.id": f"{LOG}/Entries/{number}", "Id": str(number)}
                    for number, entry in enumerate(listed, start=1)]
        cxl = {"@odata.type": "#LogEntry.v1_16_0.LogEntry", "Name": "CXL", "EntryType": "CXL",
               "Severity": "Critical", "Created": "2026-02-03T04:05:06Z"}
        return [{**cxl, "@odata.id": f"{JOURNAL}/Entries/{number}", "Id": str(number), "CXLEntryType": kind}
                for number, kind in ((1, "Failure"), (2, "DynamicCapacity"))]

    def page(self, path, skip, how):
        """LOG has its members in it, JOURNAL only links to them."""
        entries = self.entries(path)
        size = how["page_size"]
        shown = entries[skip:skip + size]
        if path == JOURNAL:
            shown = [link(entry["@odata.id"]) for entry in shown]
        answer = collection(f"{path}/Entries", "LogEntry", shown)
        answer["Members@odata.count"] = len(entries)
        if skip + size < len(entries):
            answer["Members@odata.nextLink"] = f"{how['links_at']}{path}/Entries?$skip={skip + size}"
        elif how["pages"] == "loop":
            answer["Members@odata.nextLink"] = f"{path}/Entries?$skip=0"
        elif how["pages"] == "foreign":
            answer["Members@odata.nextLink"] = f"https://elsewhere.example{path}/Entries?$skip={skip + size}"
        return answer

    def resource(self, path, how):
        name, _, query = path.partition("?")
        name = name.rstrip("/") or "/"
        skip = int(re.sub(r"\D", "", query) or 0)
        for log in (LOG, JOURNAL):
            if name == f"{log}/Entries":
                return self.page(log, skip, how)
            for entry in self.entries(log):
                if name == entry["@odata.id"]:
                    return entry
        root = {"@odata.id": f"{ROOT}/", "@odata.type": "#ServiceRoot.v1_16_0.ServiceRoot", "Id": "RootService",
                "Name": "Root", "RedfishVersion": "1.18.0", "UUID": how["uuid"],
                "Systems": link(f"{ROOT}/Systems"), "Managers": link(f"{ROOT}/Managers"), "Links": {}}
        if how["sessions"]:
            root["SessionService"] = link(f"{ROOT}/SessionService")
            root["Links"]["Sessions"] = link(f"{ROOT}/SessionService/Sessions")
        system = {"@odata.id": SYSTEM, "@odata.type": "#ComputerSystem.v1_20_0.ComputerSystem", "Id": "1",
                  "Name": "System", "UUID": how["uuid"], "PowerState": "On", "SystemType": "Physical",
                  "Memory": link(f"{SYSTEM}/Memory"), "LogServices": link(f"{SYSTEM}/LogServices"),
                  "Actions": {"#ComputerSystem.Reset": {
                      "target": f"{SYSTEM}/Actions/ComputerSystem.Reset",
                      "ResetType@Redfish.AllowableValues": ["On", "ForceOff"]}},
                  "Boot": {"BootSourceOverrideEnabled": "Disabled", "BootSourceOverrideTarget": "None"},
                  "Links": {"ManagedBy": [link(f"{ROOT}/Managers/bmc")]}, "Status": {"Health": "OK"}}
        if not how["uuid"]:
            del system["UUID"]
        manager = {"@odata.id": f"{ROOT}/Managers/bmc", "@odata.type": "#Manager.v1_19_0.Manager", "Id": "bmc",
                   "Name": "BMC", "LogServices": link(f"{ROOT}/Managers/bmc/LogServices")}
        fixed = {
            "/redfish": {"v1": f"{ROOT}/"},
            ROOT: root,
            f"{ROOT}/SessionService": {"@odata.id": f"{ROOT}/SessionService", "Id": "SessionService",
                                       "@odata.type": "#SessionService.v1_1_9.SessionService",
                                       "Name": "Sessions", "ServiceEnabled": True, "SessionTimeout": 60,
                                       "Sessions": link(f"{ROOT}/SessionService/Sessions")},
            f"{ROOT}/SessionService/Sessions": collection(f"{ROOT}/SessionService/Sessions", "Session", []),
            f"{ROOT}/Systems": collection(f"{ROOT}/Systems", "ComputerSystem", [link(SYSTEM)]),
            f"{ROOT}/Managers": collection(f"{ROOT}/Managers", "Manager", [link(manager["@odata.id"])]),
            SYSTEM: system,
            manager["@odata.id"]: manager,
            f"{SYSTEM}/Memory": collection(f"{SYSTEM}/Memory", "Memory",
                                           [link(module(number)["@odata.id"]) for number in (1, 2)]),
            f"{SYSTEM}/LogServices": collection(f"{SYSTEM}/LogServices", "LogService", [link(LOG)]),
            f"{ROOT}/Managers/bmc/LogServices": collection(f"{ROOT}/Managers/bmc/LogServices", "LogService",
                                                           [link(JOURNAL), link(LOG)]),
            LOG: log_service(LOG),
            JOURNAL: log_service(JOURNAL),
        }
        for number in (1, 2):
            memory = {**module(number), **self.settings.get(number, {})}
            fixed[memory["@odata.id"]] = memory
            fixed[metrics(number)["@odata.id"]] = metrics(number)
        if not how["sessions"] and "SessionService" in name:
            return None
        return fixed.get(name)

    def fault(self, method, path, how):
        with self.lock:
            for number, fault in enumerate(how["faults"]):
                key = (number, json.dumps(fault, sort_keys=True))
                if (fault.get("method", method) == method and re.fullmatch(fault.get("path", ".*"), path)
                        and self.used.get(key, 0) < fault.get("times", 1)):
                    self.used[key] = self.used.get(key, 0) + 1
                    return fault
        return None

    def store(self):
        text = json.dumps({"entries": self.added, "actions": self.actions, "sessions": len(self.tokens)})
        path = self.folder / "stored.json"
        path.with_suffix(".new").write_text(text, encoding="utf-8")
        path.with_suffix(".new").rename(path)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "redfish-double"
    timeout = 60

    def log_message(self, *_):
        pass

    def authenticated(self, how):
        """How, or None."""
        service = self.server.service
        token = self.headers.get("X-Auth-Token")
        with service.lock:
            if token in service.tokens:
                service.tokens[token][1] += 1
                if how["session_requests"] and service.tokens[token][1] > how["session_requests"]:
                    del service.tokens[token]
                    return None
                return "token"
        given = self.headers.get("Authorization", "")
        wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        return "basic" if token is None and secrets.compare_digest(given, wanted) else None

    def answer(self, status, body=None, headers=(), fault=None):
        text = b"" if body is None else json.dumps(body).encode()
        kind = fault["kind"] if fault else ""
        if kind == "truncated":
            text = text[:len(text) // 2]
        with self.server.service.lock, (self.server.folder / "requests").open("a", encoding="utf-8") as log:
            log.write(f"{self.command} {self.path} {status} {self.how}\n")
        self.send_response(status)
        self.send_header("OData-Version", "4.0")
        self.send_header("Content-Type", "text/html" if kind == "content-type" else "application/json")
        # A client that asked for the end of the connection has to hear that it comes, or uses it again.
        if kind == "endless" or self.close_connection:
            self.send_header("Connection", "close")
        if kind != "endless":  # which has no length that would tell
            self.send_header("Content-Length", str(len(text) + (10 if kind == "cut" else 0)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if kind == "drip":
            for byte in text:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(0.2)
        elif kind == "endless":
            for _ in range(64):
                self.wfile.write(b" " * (1 << 20))
        else:
            self.wfile.write(text)
        if kind in ("cut", "endless"):
            self.hang_up()

    def error(self, status, message, headers=(), fault=None):
        self.answer(status, {"error": {"code": "Base.1.8.GeneralError", "message": message}}, headers, fault)

    def hang_up(self):
        self.close_connection = True
        self.wfile.flush()
        self.connection.close()

    def handle_method(self):
        service = self.server.service
        how = service.behaviour()
        size = int(self.headers.get("Content-Length") or 0)
        text = self.rfile.read(size)
        self.how = self.authenticated(how) or "none"
        fault = service.fault(self.command, self.path, how)
        kind = fault["kind"] if fault else ""
        if kind.isdigit():
            headers = [("Retry-After", fault["retry_after"])] if "retry_after" in fault else []
            return self.error(int(kind), fault.get("message", "as asked"), headers)
        if kind == "redirect":
            return self.answer(302, None, [("Location", fault["to"])])
        if kind == "hang-up":
            return self.hang_up()
        public = self.path.rstrip("/") in ("/redfish", ROOT) or (
            self.command == "POST" and self.path.rstrip("/") == f"{ROOT}/SessionService/Sessions")
        if not public and self.how == "none":
            return self.error(401, "no valid session", [("WWW-Authenticate", 'Basic realm="BMC"')])
        body = json.loads(text) if text else {}
        if kind == "cut-after":  # it is carried out, and nobody hears of it
            self.answer = lambda *_, **__: self.hang_up()
            fault = None
        return getattr(self, f"do_{self.command.lower()}_method")(body, how, fault)

    do_GET = do_POST = do_PATCH = do_DELETE = handle_method

    def do_get_method(self, _, how, fault):
        found = self.server.service.resource(self.path, how)
        if found is None:
            return self.error(404, "no such resource", fault=fault)
        tag = hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16]
        headers = [("ETag", f'"{tag}"')]
        if self.path.split("?")[0] == f"{LOG}/Entries":
            headers.append(("Allow", "GET, HEAD, POST" if how["insertable"] else "GET, HEAD"))
        return self.answer(200, found, headers, fault)

    def do_post_method(self, body, how, _):
        service = self.server.service
        path = self.path.rstrip("/")
        if path == f"{ROOT}/SessionService/Sessions" and how["sessions"]:
            if (body.get("UserName"), body.get("Password")) != (USER, PASSWORD):
                return self.error(401, f"user {body.get('UserName')} with password {body.get('Password')}")
            token, name = secrets.token_hex(16), secrets.token_hex(4)
            with service.lock:
                service.tokens[token] = [f"{path}/{name}", 0]
                service.store()
            return self.answer(201, {"@odata.id": f"{path}/{name}", "Id": name, "Name": "Session",
                                     "@odata.type": "#Session.v1_7_0.Session", "UserName": USER},
                               [("X-Auth-Token", token), ("Location", f"{path}/{name}")])
        if path == f"{LOG}/Entries":
            if not how["insertable"]:
                return self.error(405, "not allowed", [("Allow", "GET, HEAD")])
            if not how["keeps_messages"]:
                body = {**body, "Message": "an entry"}
            with service.lock:
                service.added.append(body)
                number = len(service.sample) + len(service.added)
                service.store()
            return self.answer(201, {}, [("Location", f"{LOG}/Entries/{number}")])
        if "/Actions/Oem/" in path:
            with service.lock:
                service.actions.append({"path": path, "body": body})
                service.store()
            return self.answer(204)
        return self.error(404 if service.resource(path, how) is None else 405, "no such action")

    def do_patch_method(self, body, how, _):
        service = self.server.service
        found = service.resource(self.path, how)
        if found is None or "/Memory/DIMM" not in self.path:
            return self.error(404 if found is None else 405, "not to be changed")
        tag = hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16]
        if self.headers.get("If-Match") != f'"{tag}"':
            return self.error(412 if "If-Match" in self.headers else 428, "it is not what it was")
        with service.lock:
            number = int(self.path.rstrip("/")[-1])
            service.settings.setdefault(number, {}).update(body)
            service.actions.append({"path": self.path, "body": body})
            service.store()
        return self.answer(200, {})

    def do_delete_method(self, _, how, fault):
        service = self.server.service
        with service.lock:
            ours = [token for token, session in service.tokens.items() if session[0] == self.path]
            for token in ours:
                del service.tokens[token]
            service.store()
        return self.answer(204) if ours else self.error(404, "no such session", fault=fault)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, folder, certificate):
        self.folder = folder
        self.service = Service(folder)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(folder / f"{certificate}.pem", folder / f"{certificate}.key")
        super().__init__(("127.0.0.1", 0), Handler)

    def get_request(self):
        connection, address = super().get_request()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The handshake is made by the thread of the connection.
        return self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, *_):
        pass  # clients that do not believe the certificate, and connections that we cut


def main(folder, certificate):
    server = Server(pathlib.Path(folder), certificate)
    server.service.store()
    (server.folder / "requests").touch()
    path = server.folder / "port"
    path.with_suffix(".new").write_text(str(server.server_address[1]), encoding="utf-8")
    path.with_suffix(".new").rename(path)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
