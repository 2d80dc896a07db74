// dcmjs-dimse as a peer of the tests:
//   node peer.js echo PORT
//   node peer.js store PORT FILE...
//   node peer.js scp PORT FOLDER     stores what it receives; answers C-ECHO and C-FIND
// Exits with 1 unless every answer is success.
const path = require('path');
const { Client, Server, Scp, Dataset, requests, responses, constants } = require('dcmjs-dimse');
const { Status, PresentationContextResult } = constants;

const [mode, port, ...rest] = process.argv.slice(2);

class Peer extends Scp {
  associationRequested(association) {
    association.getPresentationContexts().forEach((each) => {
      const context = association.getPresentationContext(each.id);
      context.setResult(PresentationContextResult.Accept, context.getTransferSyntaxUids()[0]);
    });
    this.sendAssociationAccept();
  }

  cEchoRequest(request, callback) {
    const response = responses.CEchoResponse.fromRequest(request);
    response.setStatus(Status.Success);
    callback(response);
  }

  cFindRequest(request, callback) {
    const pending = responses.CFindResponse.fromRequest(request);
    pending.setDataset(new Dataset({ PatientID: 'P1', StudyInstanceUID: '1.2.3', QueryRetrieveLevel: 'STUDY' }));
    pending.setStatus(Status.Pending);
    const final = responses.CFindResponse.fromRequest(request);
    final.setStatus(Status.Success);
    callback([pending, final]);
  }

  cStoreRequest(request, callback) {
    const uid = request.getAffectedSopInstanceUid();
    request.getDataset().toFile(path.join(rest[0], `${uid}.dcm`), (error) => {
      const response = responses.CStoreResponse.fromRequest(request);
      response.setStatus(error ? Status.ProcessingFailure : Status.Success);
      callback(response);
    });
  }

  associationReleaseRequested() {
    this.sendAssociationReleaseResponse();
  }
}

if (mode === 'scp') {
  new Server(Peer).listen(Number(port));
} else {
  const wanted = mode === 'echo' ? [new requests.CEchoRequest()] : rest.map((file) => new requests.CStoreRequest(file));
  let succeeded = 0;
  const client = new Client();
  wanted.forEach((request) => {
    request.on('response', (response) => {
      succeeded += response.getStatus() === Status.Success;
    });
    client.addRequest(request);
  });
  client.on('networkError', (error) => {
    console.error(error.message);
    process.exit(1);
  });
  client.on('closed', () => process.exit(succeeded === wanted.length ? 0 : 1));
  client.send('127.0.0.1', Number(port), 'DCMJS', 'RULES');
}
