<?php
// A webhook receiver in plain PHP (version 8 or later):
//
//   WEBHOOK_SECRET=whsec_… php -S 127.0.0.1:3000 receiver.php
//
// It verifies the signature, takes each event once, and answers 200; a worker reads what it took.
declare(strict_types=1);

const MAX_BODY = 1024 * 1024; // an event has at most 256 KiB of data
const TOLERANCE = 5 * 60; // seconds: an older request may be a replay

function answer(int $status, array $value): never
{
    http_response_code($status);
    header('Content-Type: application/json');
    echo json_encode($value);
    exit;
}

// verify wants the body's bytes as they came: JSON that was parsed and written again is other bytes.
function verify(string $key, string $body): bool
{
    $id = $_SERVER['HTTP_WEBHOOK_ID'] ?? '';
    $timestamp = $_SERVER['HTTP_WEBHOOK_TIMESTAMP'] ?? '';
    if (!ctype_digit($timestamp) || abs(time() - (int) $timestamp) > TOLERANCE) {
        return false;
    }
    $want = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$timestamp.$body", $key, true));
    // During a rotation there are two signatures; one of them has to fit.
    foreach (explode(' ', $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '') as $candidate) {
        if (hash_equals($want, $candidate)) {
            return true;
        }
    }
    return false;
}

$secret = getenv('WEBHOOK_SECRET') ?: '';
$key = base64_decode(substr($secret, strlen('whsec_')), true);
if (!str_starts_with($secret, 'whsec_') || $key === false || strlen($key) < 24) {
    error_log('set WEBHOOK_SECRET to the signing secret of your endpoint: whsec_…');
    answer(500, ['error' => 'not configured']);
}

if ($_SERVER['REQUEST_METHOD'] !== 'POST' || parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH) !== '/webhooks/chattosurvey') {
    answer(404, ['error' => 'not found']);
}

$body = file_get_contents('php://input', false, null, 0, MAX_BODY + 1);
if ($body === false || strlen($body) > MAX_BODY) {
    answer(413, ['error' => 'body too large']);
}
if (!verify($key, $body)) {
    answer(401, ['error' => 'invalid signature']);
}
$event = json_decode($body, true, 512, JSON_THROW_ON_ERROR);

// Creating the file is taking the event: it fails when the id was taken before. In production this is a database table
// with a unique key on the id, which a worker reads.
$inbox = sys_get_temp_dir() . '/chattosurvey-inbox';
if (!is_dir($inbox)) {
    mkdir($inbox, 0700, true);
}
if (preg_match('/^[0-9a-f-]{36}$/', $event['id']) && ($file = @fopen("$inbox/{$event['id']}.json", 'x'))) {
    fwrite($file, $body);
    fclose($file);
    error_log("took {$event['id']} {$event['event']}");
}
answer(200, ['received' => true]);
