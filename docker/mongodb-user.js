// Run once by MongoDB's image: the user of the workers, who owns this one database and nothing else.
const password = require("fs").readFileSync("/run/secrets/mongo_worker", "utf8").replace(/\n+$/, "");
db.getSiblingDB("defect_workflows").createUser({ user: "worker", pwd: password, roles: ["dbOwner"] });
