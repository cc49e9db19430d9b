# A webhook receiver on Rack (version 3):
#
#   gem install rack puma
#   WEBHOOK_SECRET=whsec_… puma --bind tcp://127.0.0.1:3000 receiver.ru
#
# It verifies the signature, takes each event once, answers 200, and works afterwards.
require "json"
require "openssl"

MAX_BODY = 1024 * 1024 # an event has at most 256 KiB of data
TOLERANCE = 5 * 60 # seconds: an older request may be a replay

class Receiver
  def initialize(secret)
    @key = secret.to_s.delete_prefix("whsec_").unpack1("m0")
    raise ArgumentError if !secret.to_s.start_with?("whsec_") || @key.bytesize < 24

    # In production both are one database table with a unique key on the id: inserting the event is taking it, and a
    # worker reads the rows. Then nothing that was answered 200 is lost when this process dies.
    @taken = {}
    @lock = Mutex.new
    @work = Queue.new
    Thread.new { process }
  rescue ArgumentError
    abort "set WEBHOOK_SECRET to the signing secret of your endpoint: whsec_…"
  end

  def call(env)
    return answer(404, error: "not found") unless env["REQUEST_METHOD"] == "POST" && env["PATH_INFO"] == "/webhooks/chattosurvey"

    body = env["rack.input"]&.read(MAX_BODY + 1).to_s
    return answer(413, error: "body too large") if body.bytesize > MAX_BODY
    return answer(401, error: "invalid signature") unless verify(env, body)

    take(JSON.parse(body)) # signed, hence ours, hence JSON
    answer(200, received: true)
  end

  private

  # Wants the body's bytes as they came: JSON that was parsed and written again is other bytes.
  def verify(env, body)
    id, timestamp = env.values_at("HTTP_WEBHOOK_ID", "HTTP_WEBHOOK_TIMESTAMP")
    return false unless timestamp.to_s.match?(/\A\d+\z/) && (Time.now.to_i - timestamp.to_i).abs <= TOLERANCE

    want = "v1," + [OpenSSL::HMAC.digest("SHA256", @key, "#{id}.#{timestamp}.".b + body.b)].pack("m0")
    # During a rotation there are two signatures; one of them has to fit.
    env["HTTP_WEBHOOK_SIGNATURE"].to_s.split(" ").any? { |candidate| OpenSSL.secure_compare(candidate, want) }
  end

  def take(event)
    @lock.synchronize do
      return if @taken.key?(event["id"])

      @taken[event["id"]] = true
    end
    @work << event
  end

  def process
    while (event = @work.pop)
      begin
        process_event(event)
      rescue StandardError => e # It was answered 200 and will not come again. In production: keep it, and look at it.
        warn "could not process #{event["id"]} #{event["event"]}: #{e.message}"
      end
    end
  end

  def process_event(event)
    case event["event"]
    when "conversation.started"
      puts "processed #{event["id"]} #{event["event"]} conversation=#{event.dig("data", "conversation", "id")}"
    when "conversation.completed"
      puts "processed #{event["id"]} #{event["event"]} responses=#{event.dig("data", "responses").length}"
    when "question_response.upserted"
      puts "processed #{event["id"]} #{event["event"]} answer=#{event.dig("data", "response", "answer").to_json}"
    else # test.webhook, and what will come one day
      puts "processed #{event["id"]} #{event["event"]}"
    end
  end

  def answer(status, value)
    [status, { "content-type" => "application/json" }, [JSON.generate(value)]]
  end
end

run Receiver.new(ENV["WEBHOOK_SECRET"])
